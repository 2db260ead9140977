"""Check that the folders that a merge reads have the expected content and do not change during the merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from firectl.errors import Code, FirectlError, InputError
from firectl.lora.read.hashing import content_hash, stamp


class Expected(NamedTuple):
    """The expected content hash of a folder. `files`: the files that it covers; None for the model's own files."""

    hash: str | None = None
    files: Sequence[str] | None = None


ANYTHING = Expected()


class Unchanged:
    """Remembers the files of a folder, and finds those that changed later."""

    def __init__(self, what: str, folder: Path) -> None:
        self._what = what
        self._folder = folder
        self._before = _stamps(folder)

    def require(self, files: Sequence[str]) -> None:
        """Raise DATA_LOSS that names the first of `files` that was changed, added or removed since the start."""
        now = _stamps(self._folder)
        for name in files:
            if self._before.get(name) != now.get(name):
                raise _damaged(f"{self._what}: the file {name} changed during the merge")


def require_hash(
    what: str, folder: Path, expected: Expected, files: Sequence[str], check: Callable[[], None] = lambda: None
) -> str:
    """Return the content hash of a folder. Raise DATA_LOSS if it is not the expected one."""
    try:
        found = content_hash(folder, expected.files or files, check)
    except InputError as error:
        if expected.hash is None:
            raise
        raise _damaged(f"{what}: {error.message}") from error
    if expected.hash is not None and found != expected.hash:
        raise _damaged(
            f"{what}: the files in {folder} hash to {found}, expected {expected.hash}: they are damaged or replaced"
        )
    return found


def _stamps(folder: Path) -> dict[str, list[int]]:
    paths = [*folder.glob("*"), *folder.glob("*/*")]
    return {path.relative_to(folder).as_posix(): stamp(path) for path in paths if path.is_file()}


def _damaged(message: str) -> FirectlError:
    return FirectlError(message, code=Code.DATA_LOSS)
