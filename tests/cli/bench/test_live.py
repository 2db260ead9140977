"""Progress of a load: a line for each round, and in a terminal a table."""

from __future__ import annotations
