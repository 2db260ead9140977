"""Which files of a folder are a model's, and where may a file of a model be written?

Checks that names and links stay inside the folder. Uses no network.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from firectl.errors import InputError

CHUNK = 1024 * 1024
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class LocalFile:
    """A file to send. `name` is relative, with `/`; `path` is not a link; `stamp` changes with the file."""

    name: str
    path: Path
    size: int
    stamp: tuple[int, int, int]


def scan(folder: Path) -> tuple[LocalFile, ...]:
    """Return the files below `folder`, sorted by name. Skip hidden files and folders, and `__pycache__`.

    InputError for a missing or empty folder, and for an entry that cannot be sent: a link that leaves the folder or
    leads to another folder, a socket or device, a name that is not plain text.
    """
    if not folder.is_dir():
        missing = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {missing}", hint="give the folder that holds the model's files")
    files = sorted(_walk(folder, folder.resolve(), ""), key=lambda file: file.name)
    if not files:
        raise InputError(f"{folder} holds no files", hint="give the folder that holds the model's files")
    return tuple(files)


def _walk(folder: Path, root: Path, prefix: str) -> Iterator[LocalFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            name = prefix + entry.name
            if problem := _name_problem(name):
                raise InputError(f"{name!r} cannot be sent: {problem}", hint="rename it")
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), root, f"{name}/")
            else:
                yield _file(Path(entry.path), root, name)


def _file(path: Path, root: Path, name: str) -> LocalFile:
    if path.is_symlink():
        path = Path(os.path.realpath(path))
        inside = path.is_relative_to(root)
        if not inside or path.is_dir():
            wrong = "a link to a folder" if inside else "a link that leaves the folder"
            raise InputError(f"{name} is {wrong}", hint=f"copy the files themselves: cp -rL {root} COPY")
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(name, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{name} is not a regular file", hint="remove it from the folder")
    return LocalFile(name, path, found.st_size, _stamp(found))


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_range(file: LocalFile, start: int, end: int) -> Generator[bytes]:
    """Yield bytes `start` to `end` of the file, at most 1 MiB at a time. InputError if it changed since the scan."""
    with _open(file) as opened:
        opened.seek(start)
        left = end - start
        while left > 0:
            chunk = opened.read(min(CHUNK, left))
            left -= len(chunk)
            # Check before the last chunk: sending it could complete a file on the server that mixes two versions.
            if not chunk or (left == 0 and not _is_as_scanned(file)):
                raise _changed(file)
            yield chunk


def _open(file: LocalFile) -> BinaryIO:
    try:
        opened = os.fdopen(os.open(file.path, os.O_RDONLY | _NOFOLLOW | _BINARY), "rb", buffering=0)
    except OSError as error:
        raise _unreadable(file.name, error) from None
    if _stamp(os.fstat(opened.fileno())) != file.stamp:
        opened.close()
        raise _changed(file)
    return opened


def _is_as_scanned(file: LocalFile) -> bool:
    try:
        return _stamp(file.path.lstat()) == file.stamp
    except OSError:
        return False


def _changed(file: LocalFile) -> InputError:
    return InputError(f"{file.name} changed during the upload", hint="start again once nothing writes to it")


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(f"{name} cannot be read: {(error.strerror or 'unknown error').lower()}")


def target(folder: Path, name: str) -> Path:
    """Return the path for a file that a server names. InputError if the path would be outside `folder`."""
    problem = _name_problem(name)
    path = folder.joinpath(*name.split("/")) if problem is None else folder
    if problem is None and not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):
        problem = "a link in the folder leads out of it"
    if problem:
        raise InputError(f"the server names a file {name!r} that cannot be written: {problem}")
    return path


def _name_problem(name: str) -> str | None:
    """Say why a file name is refused: not relative, not inside the folder, or not plain text. None if it is valid."""
    if not name.isprintable() or "\\" in name:
        return "its name has a character that is not printable, or a backslash"
    if any(part in ("", ".", "..") for part in name.split("/")) or os.path.splitdrive(name)[0]:
        return "its name is not relative to the folder"
    return None
