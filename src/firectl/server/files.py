"""How do a model's files lie on disk? Bytes arrive beside their folder and enter it whole; a name cannot leave it.

Knows no rows and no HTTP.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from firectl.config import private_folder
from firectl.errors import ApiError, Code
from firectl.server.paths import PRIVATE_FILE, Paths, sync_folder

MAX_DEPTH = 8
_MAX_NAME = 1024
_MAX_PART = 255
_SESSION = ".session"
_WHOLE = ".whole"


def check_filename(name: str) -> None:
    """INVALID_ARGUMENT unless this is a plain relative path that stays in its folder, in any system's eyes."""
    problem = _problem(name)
    if problem:
        raise ApiError(Code.INVALID_ARGUMENT, f"file name {name[:200]!a} {problem}")


def check_together(names: Iterable[str]) -> None:
    """INVALID_ARGUMENT when two names would be one file somewhere, or one is the folder of another."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        same = unicodedata.normalize("NFC", name).casefold()
        if same in seen:
            raise ApiError(Code.INVALID_ARGUMENT, f"file names {seen[same]!r} and {name!r} differ in case alone")
        seen[same] = name
    for name in seen:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in seen:
                raise ApiError(
                    Code.INVALID_ARGUMENT, f"{seen['/'.join(parts[:depth])]!r} is a file and a folder at once"
                )


def _problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if "\\" in name:
        return "has a backslash; folders are written with /"
    if name.startswith("/") or name[1:2] == ":":
        return "is an absolute path; names are relative to the model's folder"
    parts = name.split("/")
    if ".." in parts:
        return "leads out of the model's folder with '..'"
    if "" in parts or "." in parts:
        return "has an empty part or '.'"
    # Control characters and NUL, invisible ones, unpaired surrogates: nothing that prints wrong or is not UTF-8.
    if any(unicodedata.category(character)[0] == "C" for character in name):
        return "has a control or invisible character"
    if any(part != part.strip() for part in parts):
        return "has a part that begins or ends with a space"
    if len(parts) > MAX_DEPTH:
        return f"is more than {MAX_DEPTH} folders deep"
    if len(name.encode()) > _MAX_NAME or any(len(part.encode()) > _MAX_PART for part in parts):
        return f"is too long: at most {_MAX_PART} bytes a part, {_MAX_NAME} in all"
    return None


class FileStore:
    """Folders of models under the platform's home. `folder` is a row's: `models/a/m-x1y2z3`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def path(self, folder: str, filename: str = "") -> Path:
        """Where a file of a model is once it is whole, or the folder itself."""
        return self._paths.home.joinpath(*folder.split("/"), *(filename.split("/") if filename else ()))

    def arriving(self, folder: str, filename: str, upload: str) -> Path:
        """Where the bytes of one upload of a file go first: kept between the parts of a resumable one."""
        kept = self._arriving_folder(folder)
        private_folder(kept)
        return kept / f"{_digest(filename)}.{upload}{_SESSION}"

    def arriving_whole(self, folder: str, filename: str, upload: str) -> Path:
        """Where the bytes of an upload go that comes in one piece or not at all."""
        kept = self._arriving_folder(folder)
        private_folder(kept)
        return kept / f"{_digest(filename)}.{upload}{_WHOLE}"

    def drop_arriving(self, folder: str, filename: str) -> None:
        """Forget what arrived of a file in resumable uploads so far."""
        for path in self._arriving_folder(folder).glob(f"{_digest(filename)}.*{_SESSION}"):
            path.unlink(missing_ok=True)

    def enter(self, arrived: Path, folder: str, filename: str) -> None:
        """Move a whole, synced file into its model's folder; what was there under that name is replaced at once."""
        target = self.path(folder, filename)
        private_folder(target.parent)
        os.replace(arrived, target)
        sync_folder(target.parent)

    def close_uploads(self, folder: str) -> None:
        """Nothing more is to come for this model."""
        shutil.rmtree(self._arriving_folder(folder), ignore_errors=True)

    def remove(self, folder: str) -> None:
        """Remove a model's files and what was arriving for it."""
        self.close_uploads(folder)
        shutil.rmtree(self.path(folder), ignore_errors=True)

    def sweep(self, folders: Collection[str]) -> None:
        """Remove what a killed platform left behind: models without a row, uploads cut off. `folders`: the rows'."""
        for account in _folders(self._paths.models):
            for model in _folders(account):
                if f"{self._paths.models.name}/{account.name}/{model.name}" not in folders:
                    shutil.rmtree(model, ignore_errors=True)
        expected = {self._arriving_folder(folder) for folder in folders}
        for arriving in _folders(self._paths.uploads):
            if arriving not in expected:
                shutil.rmtree(arriving, ignore_errors=True)
                continue
            for path in arriving.glob(f"*{_WHOLE}"):
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Room left on the disk of the data folder."""
        return shutil.disk_usage(self._paths.home).free

    def _arriving_folder(self, folder: str) -> Path:
        return self._paths.uploads / folder.split("/", 1)[1].replace("/", ".")


class Arrival:
    """A file being written at its end, where an earlier part may be. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self.path = path
        self._file = os.fdopen(os.open(path, flags, PRIVATE_FILE), "r+b", buffering=0)
        self.size = self._file.seek(0, os.SEEK_END)
        # Hashed as it comes when it comes in one go; what lies there already is read again only at the end.
        self._hash = hashlib.sha256() if self.size == 0 else None

    def append(self, data: bytes) -> None:
        """Write at the end. OSError when the disk is full."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        if self._hash is not None:
            self._hash.update(data)
        self.size += len(data)

    def sync(self) -> None:
        """What was appended lasts once this returns."""
        os.fsync(self._file.fileno())

    def sha256(self) -> str:
        """Hexadecimal, of all that is there."""
        if self._hash is not None:
            return self._hash.hexdigest()
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def close(self) -> None:
        self._file.close()


def _digest(filename: str) -> str:
    return hashlib.sha256(filename.encode()).hexdigest()[:32]


def _folders(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink()] if path.is_dir() else []
