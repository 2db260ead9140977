"""Hash the content of a folder. The hash depends only on the files, not on the folder's name or on times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from firectl.errors import InputError
from firectl.lora.read.folder import open_folder, regular_file

_PIECE = 1 << 20


class FileHash(NamedTuple):
    """A file's size in bytes and its sha256 (hexadecimal)."""

    size: int
    sha256: str


def content_hash(folder: Path, files: Iterable[str] | None = None, check: Callable[[], None] = lambda: None) -> str:
    """Return `sha256:<64 hex>` over the name, size and hash of each of `files`. None: all files directly in `folder`.

    InputError if a file is missing or is not in the folder. `check` is called before each MiB and may raise.
    """
    open_folder(folder, "folder")
    if files is None:
        files = [path.name for path in folder.iterdir() if not path.is_dir()]
    found = {}
    for name in set(files):
        path = regular_file(folder, name)
        if path is None:
            raise InputError(f"'{name}' is missing from the folder {folder}")
        found[name] = file_hash(path, check)
    return combined(found)


def combined(files: Mapping[str, FileHash]) -> str:
    """Return the content hash of a folder whose files have these names, sizes and hashes."""
    total = hashlib.sha256()
    for name, (size, digest) in sorted(files.items()):
        total.update(f"{len(name.encode())}:{name} {size} {digest}\n".encode())
    return f"sha256:{total.hexdigest()}"


def file_hash(path: Path, check: Callable[[], None] = lambda: None) -> FileHash:
    """Return a file's size and sha256. `check` is called before each MiB and may raise."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    size = 0
    with path.open("rb", buffering=0) as file:
        check()
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
            check()
    return FileHash(size, digest.hexdigest())


def stamp(path: Path) -> list[int]:
    """Return [size, mtime, ctime, inode], which changes when the file is written. Empty if it does not exist."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
