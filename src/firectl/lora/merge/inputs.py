"""Are the folders that a merge reads what its caller means, and were they the same from its start to its end?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from firectl.errors import Code, FirectlError, InputError
from firectl.lora.read.hashing import content_hash, stamp


class Expected(NamedTuple):
    """What a folder should hold. `files` are those that the hash covers; None for the model's own."""

    hash: str | None = None
    files: Sequence[str] | None = None


ANYTHING = Expected()


class Unchanged:
    """The files of a folder as they were when this was made."""

    def __init__(self, what: str, folder: Path) -> None:
        self._what = what
        self._folder = folder
        self._before = _stamps(folder)

    def require(self, files: Sequence[str]) -> None:
        """DATA_LOSS, naming the file, if one of these was changed, added or removed since."""
        now = _stamps(self._folder)
        for name in files:
            if self._before.get(name) != now.get(name):
                raise _damaged(f"{self._what}: the file {name} changed during the merge")


def require_hash(
    what: str, folder: Path, expected: Expected, files: Sequence[str], check: Callable[[], None] = lambda: None
) -> str:
    """The hash of a folder's content. DATA_LOSS if another one is expected."""
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
