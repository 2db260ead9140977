"""Find the existing folder that a missing folder on the command line was probably meant to be.

Compares names. A configuration file shows whether a folder holds an adapter or a base model.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from firectl.names import is_id

_BASE, _ADAPTER = "config.json", "adapter_config.json"
_FOLDERS: Mapping[str, Mapping[str, str | None]] = {
    "lora check": {"base_model": _BASE},
    "lora merge": {"adapter": _ADAPTER, "base_model": _BASE},
    "lora parity": {"adapter": _ADAPTER, "base_model": _BASE},
    "model create": {"path": None},
    "model upload": {"path": None},
}
"""Verb → {parameter that is a folder: the file that such a folder must contain, or None if that is not known}."""
_LIKE = 0.6
_LOOKED_AT = 1000
_SHOWN = 3


def folder_meant(verb: str, given: Mapping[str, Any]) -> str | None:
    """Return a hint for the first folder parameter that is not an existing folder. None if there is no hint."""
    for name, mark in _FOLDERS.get(verb, {}).items():
        text = str(given.get(name) or "").rstrip("/")
        if not text or Path(text).is_dir():
            continue
        before, slash, last = text.rpartition("/")
        parent = Path(before or slash or ".")
        if Path(text).is_file():
            return f"give the folder that contains it: {shlex.quote(str(parent))}"
        near = _near(parent, last, mark)
        if near:
            shown = [shlex.quote(f"{before}{slash}{folder}") for folder in near]
            return f"did you mean {' or '.join(shown)}?"
        # A base given as an ID may be a model of the API. For `model create` and `upload` the error itself is enough.
        return None if mark is None or (is_id(text) and name == "base_model") else _look(parent)
    return None


def _near(parent: Path, last: str, mark: str | None) -> list[str]:
    """Return the folder in `parent` with the most similar name, else the folders that contain `mark`, if few."""
    try:
        folders = sorted(path.name for path in islice(parent.iterdir(), _LOOKED_AT) if path.is_dir())
    except OSError:
        return []
    fitting = [folder for folder in folders if mark and (parent / folder / mark).is_file()]
    near = get_close_matches(last, fitting, 1, _LIKE) or get_close_matches(last, folders, 1, _LIKE)
    return near or (fitting if len(fitting) <= _SHOWN else [])


def _look(parent: Path) -> str:
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    return f"ls {shlex.quote(str(parent))} shows what there is"
