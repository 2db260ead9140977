"""Folders with weights that tests of the command line read, and how one is changed."""

from __future__ import annotations

import json
from pathlib import Path

from firectl.samples import FOLDER as SAMPLES

__all__ = ["SAMPLES", "change"]


def change(adapter: Path, **fields: object) -> None:
    """Sets fields of an adapter's config."""
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
