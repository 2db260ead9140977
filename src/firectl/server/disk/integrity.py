"""Do files on disk still hold the stored content? Checked by their stamps (cheap) or by reading them.

Must not use rows.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from firectl.lora.read.hashing import FileHash, file_hash, stamp

Stamps = Mapping[str, list[int]]
"""Maps a file name to the `hashing.stamp` that the file had when its content was last verified."""

_NOT_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
"""Errors of this process or machine; they do not mean that the file is damaged."""
_NAMED = 3
_TRIES = 3


@dataclass(frozen=True)
class Examined:
    """The result of reading files: the damage as text (None: no damage), and the stamps before the reading."""

    damage: str | None
    stamps: dict[str, list[int]]


def untouched(folder: Path, stamps: Stamps | None) -> bool:
    """Whether every file has its recorded stamp. False where no stamps were recorded."""
    return stamps is not None and all(_stamp(folder / name) == known for name, known in stamps.items())


def examine(folder: Path, files: Mapping[str, FileHash], check: Callable[[], None] = lambda: None) -> Examined:
    """Read files and compare their sizes and hashes with `files`. Call `check`, which may raise, before each MiB."""
    stamps: dict[str, list[int]] = {}
    damage = []
    for name, expected in files.items():
        path = folder / name
        for _ in range(_TRIES):
            stamps[name] = _stamp(path)
            problem = _problem(path, expected, check)
            if stamps[name] == _stamp(path):
                break
        if problem is not None:
            damage.append(f"the file {name} {problem}")
    more = len(damage) - _NAMED
    said = "; ".join(damage[:_NAMED]) + (f"; and {more} more files" if more > 0 else "")
    return Examined(said or None, stamps)


def _problem(path: Path, expected: FileHash, check: Callable[[], None]) -> str | None:
    try:
        size = path.stat().st_size
        if size != expected.size:
            return f"has {size} bytes, expected {expected.size}"
        found = file_hash(path, check)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise
        return f"cannot be read: {error.strerror or error}"
    if found != expected:
        return f"is damaged: its sha256 is {found.sha256}, expected {expected.sha256}"
    return None


def _stamp(path: Path) -> list[int]:
    try:
        return stamp(path)
    except OSError:
        return []
