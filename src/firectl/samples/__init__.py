"""Where are the sample models that ship with firectl, and what do they answer? Stdlib only; loads no weights.

Made by tools/make_samples.py, which trains them and records their answers in samples.json.
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent
BASE = "base"
ADAPTERS = ("pirate", "poet")


def sample_path(name: str) -> Path:
    """The folder of a sample: `base`, or one of ADAPTERS."""
    if name not in (BASE, *ADAPTERS):
        raise ValueError(f"no sample {name!r}: there are {', '.join((BASE, *ADAPTERS))}")
    return FOLDER / name


def recorded_answers() -> dict[str, dict[str, str]]:
    """For each sample, question → the answer it gave at temperature 0 when it was made."""
    answers: dict[str, dict[str, str]] = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))["answers"]
    return answers
