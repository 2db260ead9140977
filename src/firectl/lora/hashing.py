"""The identity of a folder's content: equal for equal files whatever the folder is called and when it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from firectl.errors import InputError
from firectl.lora.folder import open_folder, regular_file

_PIECE = 1 << 20


def content_hash(folder: Path, files: Iterable[str] | None = None, check: Callable[[], None] = lambda: None) -> str:
    """`sha256:<64 hex>` over the name, size and hash of each of `files` (all files in the folder itself if None).

    InputError if one of them is missing or no file of the folder. What `check`, called before each MiB, raises ends it.
    """
    open_folder(folder, "folder")
    if files is None:
        files = [path.name for path in folder.iterdir() if not path.is_dir()]
    total = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    for name in sorted(set(files)):
        path = regular_file(folder, name)
        if path is None:
            raise InputError(f"'{name}' is missing from the folder {folder}")
        digest = hashlib.sha256()
        size = 0
        with path.open("rb", buffering=0) as file:
            check()
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                size += count
                check()
        total.update(f"{len(name.encode())}:{name} {size} {digest.hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"
