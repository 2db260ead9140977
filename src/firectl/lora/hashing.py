"""The identity of a folder's content: equal for equal files whatever the folder is called and when it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from firectl.errors import InputError
from firectl.lora.folder import open_folder, regular_file


def content_hash(folder: Path, files: Iterable[str] | None = None) -> str:
    """`sha256:<64 hex>` over the name, size and hash of each of `files` (all files in the folder itself if None).

    InputError if one of them is missing or no file of the folder.
    """
    open_folder(folder, "folder")
    if files is None:
        files = [path.name for path in folder.iterdir() if not path.is_dir()]
    total = hashlib.sha256()
    for name in sorted(set(files)):
        path = regular_file(folder, name)
        if path is None:
            raise InputError(f"'{name}' is missing from the folder {folder}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        total.update(f"{len(name.encode())}:{name} {size} {digest}\n".encode())
    return f"sha256:{total.hexdigest()}"
