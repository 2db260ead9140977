"""A folder that is written whole or not at all: built beside its place, flushed, then renamed.

What a killed process left behind is removed by the next one that writes the same folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from firectl.errors import AdapterError

_SUFFIX = ".partial"
_SETTLED = 10.0
"""Seconds after which a folder that nobody holds is a leftover; younger ones may not be locked yet."""


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes `out` at the end. AdapterError if `out` is there already.

    On any exception, and on a kill at any moment, there is no `out`.
    """
    if out.exists() or out.is_symlink():
        raise _exists(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out)
    partial = out.parent / f".{out.name}.{secrets.token_hex(4)}{_SUFFIX}"
    partial.mkdir()
    held = os.open(partial, os.O_RDONLY)
    try:
        _lock(held)
        yield partial
        _flush(partial)
        try:
            # A folder replaces an empty folder only.
            partial.rename(out)
        except OSError:
            if out.exists():
                raise _exists(out) from None
            raise
        _flush_folder(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(held)


def _exists(out: Path) -> AdapterError:
    return AdapterError(f"{out} is there already", hint="name a folder that does not exist yet")


def _remove_leftovers(out: Path) -> None:
    for leftover in out.parent.glob(f".{_escaped(out.name)}.*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime < _SETTLED:
                continue
            held = os.open(leftover, os.O_RDONLY)
            try:
                if _lock(held):
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(held)


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _lock(descriptor: int) -> bool:
    """Hold the folder until its descriptor is closed or the process ends; False if another process holds it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system: leftovers stay
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            _flush_folder(path)
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
