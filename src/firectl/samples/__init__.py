"""Where are the sample models that ship with firectl, and what do they answer? Standard library alone.

tools/make_samples.py trains them and records their answers in samples.json.
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent
BASE = "base"
ADAPTERS = ("pirate", "poet")


def sample_path(name: str) -> Path:
    """The folder of a sample: `base`, or one of ADAPTERS. ValueError for another name."""
    if name not in (BASE, *ADAPTERS):
        raise ValueError(f"expected a sample, one of {', '.join((BASE, *ADAPTERS))}, got {name!r}")
    return FOLDER / name


def recorded_answers() -> dict[str, dict[str, str]]:
    """Sample → question → its answer at temperature 0."""
    answers: dict[str, dict[str, str]] = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))["answers"]
    return answers
