"""Write a folder completely or not at all: build it beside its final path, flush it, then rename it.

If a process is killed, the next one that writes to the same path removes the unfinished folder.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from firectl.errors import AdapterError

_SUFFIX = ".partial"
_SETTLED = 10.0
"""Seconds after which an unlocked folder is a leftover. Before that, its process may not have locked it yet."""


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder to write into, and rename it to `out` at the end. AdapterError if `out` exists.

    After an exception or a kill at any moment, `out` does not exist.
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
        for path in (*partial.rglob("*"), partial):
            _flush(path)
        try:
            # rename replaces a folder only if it is empty.
            partial.rename(out)
        except OSError:
            if out.exists():
                raise _exists(out) from None
            raise
        _flush(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(held)


def _exists(out: Path) -> AdapterError:
    return AdapterError(f"{out} is there already", hint="name a folder that does not exist yet")


def _remove_leftovers(out: Path) -> None:
    for leftover in out.parent.glob(f".{glob.escape(out.name)}.*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime < _SETTLED:
                continue
            held = os.open(leftover, os.O_RDONLY)
            try:
                if _lock(held):
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(held)


def _lock(descriptor: int) -> bool:
    """Lock the folder until its descriptor is closed or the process ends. False if another process holds the lock."""
    try:
        import fcntl
    except ImportError:  # this system has no such locks: leftovers stay
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
