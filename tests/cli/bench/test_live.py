"""Progress of a load: a line for each round, and in a terminal a table."""

from __future__ import annotations

import io
from array import array

import pytest

from firectl.bench import Endpoint, Level
from firectl.bench.generator import Cell
from firectl.bench.samples import Sample
from firectl.cli.bench import live
from firectl.cli.output.output import Output
from firectl.cli.output.progress import Progress
