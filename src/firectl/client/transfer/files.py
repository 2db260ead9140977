"""Which files of a folder are a model's, and where a file of a model may be written: names and links that stay inside.

Touches no network.
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
    """A file to send. `name` is relative to the folder, with `/`; `path` is real, no link; `stamp` shows a change."""

    name: str
    path: Path
    size: int
    stamp: tuple[int, int, int]


def scan(folder: Path) -> tuple[LocalFile, ...]:
    """Every file below `folder`, by name; hidden ones and `__pycache__` are left out.

    InputError for a folder that is none or has no files, and for what cannot be sent: a link that leaves the folder or
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
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(root):
            raise InputError(
                f"{name} is a link that leaves the folder", hint=f"copy the files themselves: cp -rL {root} COPY"
            )
        if target.is_dir():
            raise InputError(f"{name} is a link to a folder", hint=f"copy the files themselves: cp -rL {root} COPY")
        path = target
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{name} cannot be read: {(error.strerror or 'unknown error').lower()}") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{name} is not a file", hint="leave only the model's files in the folder")
    return LocalFile(name, path, found.st_size, _stamp(found))


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_range(file: LocalFile, start: int, end: int) -> Generator[bytes]:
    """Bytes `start` to `end` of the file, 1 MiB at a time; InputError when it is not the file that was scanned."""
    with _open(file) as opened:
        opened.seek(start)
        left = end - start
        while left > 0:
            chunk = opened.read(min(CHUNK, left))
            left -= len(chunk)
            # Before the last bytes go out: with them the server would have a whole file, of two versions or an old one.
            if not chunk or (left == 0 and not _is_as_scanned(file)):
                raise _changed(file)
            yield chunk


def _open(file: LocalFile) -> BinaryIO:
    try:
        opened = os.fdopen(os.open(file.path, os.O_RDONLY | _NOFOLLOW | _BINARY), "rb", buffering=0)
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {(error.strerror or 'unknown error').lower()}") from None
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
    return InputError(f"{file.name} changed while it was being sent", hint="start again once nothing writes to it")


def target(folder: Path, name: str) -> Path:
    """Where a file that a server names may be written; InputError for a name that would leave `folder`."""
    problem = _name_problem(name)
    path = folder.joinpath(*name.split("/")) if problem is None else folder
    if problem is None and not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):
        problem = "a link in the folder leads out of it"
    if problem:
        raise InputError(f"the server names a file {name!r} that cannot be written: {problem}")
    return path


def _name_problem(name: str) -> str | None:
    """Why a relative name with `/` is not safe or not plain, None when it is both."""
    if not name.isprintable() or "\\" in name:
        return "its name holds a character that is not printable, or a backslash"
    if any(part in ("", ".", "..") for part in name.split("/")) or os.path.splitdrive(name)[0]:
        return "its name is not relative to the folder"
    return None
