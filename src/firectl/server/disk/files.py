"""Where are a model's files on disk? An upload is stored elsewhere until it is complete, then moved to the model.

Must not use rows or HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from firectl.config import private_folder, sync_folder
from firectl.errors import ApiError, Code, invalid
from firectl.server.disk.paths import PRIVATE_FILE, Paths
from firectl.server.disk.trash import Trash

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    HashSoFar = tuple[int, Hash]

MAX_DEPTH = 8
_MAX_NAME = 1024
_MAX_PART = 255
_SESSION = ".session"
_OVER = ".over"
_WHOLE = ".whole"


class UploadSuperseded(Exception):
    """Raised when a later upload of the same file has ended this upload."""


def check_filename(name: str) -> None:
    """Raise INVALID_ARGUMENT unless `name` is a relative path that stays in its folder on every operating system."""
    problem = _problem(name)
    if problem:
        raise invalid(f"file name {name[:200]!a} {problem}")


def check_together(names: Iterable[str]) -> None:
    """Raise INVALID_ARGUMENT when two names are the same file on some file system, or one is a folder of another."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        same = unicodedata.normalize("NFC", name).casefold()
        if same in seen:
            raise invalid(f"file names {seen[same]!r} and {name!r} are the same file on some file systems")
        seen[same] = name
    for name in seen:
        for folder in PurePosixPath(name).parents:
            if str(folder) in seen:
                raise invalid(f"{seen[str(folder)]!r} is both a file and a folder")


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
    # Category C: control characters and NUL, invisible characters, unpaired surrogates (not UTF-8).
    if any(unicodedata.category(character)[0] == "C" for character in name):
        return "has a control or invisible character"
    if any(part != part.strip() for part in parts):
        return "has a part that begins or ends with a space"
    if len(parts) > MAX_DEPTH:
        return f"is more than {MAX_DEPTH} folders deep"
    if len(name.encode()) > _MAX_NAME or any(len(part.encode()) > _MAX_PART for part in parts):
        return f"is too long: at most {_MAX_PART} bytes per part, {_MAX_NAME} in total"
    return None


class FileStore:
    """The folders of models in the data folder. `folder` is always the one in a model's row: `models/a/m.x1y2z3`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def path(self, folder: str, filename: str = "") -> Path:
        """Return the path of a complete file of a model; without `filename`, the path of the model's folder."""
        return self._paths.home.joinpath(*folder.split("/"), *(filename.split("/") if filename else ()))

    def incoming(self, folder: str, filename: str, upload: str, *, whole: bool = False) -> Path:
        """Return where the bytes of an upload are written: of a resumable upload, or of a `whole` file."""
        kept = self._uploads_of(folder)
        private_folder(kept)
        return kept / f"{_digest(filename)}.{upload}{_WHOLE if whole else _SESSION}"

    def is_arriving(self, folder: str, filename: str) -> bool:
        """Whether a resumable upload of the file is in progress."""
        return any(self._uploads_of(folder).glob(f"{_digest(filename)}.*{_SESSION}"))

    def begin_upload(self, folder: str, filename: str, upload: str) -> None:
        """Start a resumable upload of a file. It ends earlier resumable uploads of the file and removes their bytes."""
        begun = self.incoming(folder, filename, upload)
        for path in begun.parent.glob(f"{_digest(filename)}.*{_SESSION}"):
            path.with_suffix(_OVER).touch(PRIVATE_FILE)
            path.unlink(missing_ok=True)
        begun.touch(PRIVATE_FILE)

    def enter(self, arrived: Path, folder: str, filename: str) -> None:
        """Put a complete, synced file into its model's folder. It replaces a file with the same name.

        Where the disk has hard links, the file also stays at `arrived`. The caller removes that name once the row says
        that the file is complete, so that the upload can still be finished if the platform is killed before.
        """
        target = self.path(folder, filename)
        private_folder(target.parent)
        fresh = arrived.with_name(f"{arrived.name}.link")
        fresh.unlink(missing_ok=True)
        try:
            os.link(arrived, fresh)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            fresh = arrived
        os.replace(fresh, target)
        sync_folder(target.parent)

    def close_uploads(self, folder: str) -> None:
        """Remove a model's unfinished uploads."""
        shutil.rmtree(self._uploads_of(folder), ignore_errors=True)

    def remove(self, folder: str) -> None:
        """Remove a model's files and its unfinished uploads."""
        self.close_uploads(folder)
        shutil.rmtree(self.path(folder), ignore_errors=True)

    def places(self, folders: Collection[str]) -> set[str]:
        """Return the folders of these models and the folders of their uploads, relative to the data folder."""
        return {*folders, *(self._below(self._uploads_of(folder)) for folder in folders)}

    def found(self) -> set[str]:
        """Return the folders of models, uploads and merges that are not empty, relative to the data folder."""
        merged = [folder for folder in _folders(self._paths.merged) if not folder.name.startswith(".")]
        holding = [*self._models(), *_folders(self._paths.uploads), *merged]
        return {self._below(folder) for folder in holding if any(folder.iterdir())}

    def sweep(self, folders: Collection[str]) -> None:
        """Move folders without a row to the trash, restore those with a row, remove broken whole-file uploads.

        `folders` are the folders of all rows. Call it only if the data folder and the database have the same ID.
        """
        trash = Trash(self._paths)
        expected = self.places(folders)
        for place in expected:
            trash.restore(self.path(place))
        for folder in (*self._models(), *_folders(self._paths.uploads)):
            if self._below(folder) not in expected:
                trash.put(folder)
            elif folder.parent == self._paths.uploads:
                for path in folder.glob(f"*{_WHOLE}"):
                    path.unlink(missing_ok=True)

    def _models(self) -> list[Path]:
        return [model for account in _folders(self._paths.models) for model in _folders(account)]

    def _below(self, folder: Path) -> str:
        return folder.relative_to(self._paths.home).as_posix()

    def free_bytes(self) -> int:
        """Return how many bytes are free on the disk of the data folder."""
        return shutil.disk_usage(self._paths.home).free

    def _uploads_of(self, folder: str) -> Path:
        return self._paths.uploads / folder.split("/", 1)[1].replace("/", ".")


WRITE_BEHIND = 8 << 20
"""After this many bytes the system is told to write them to disk, so that the final sync takes little time."""


class IncomingFile:
    """A file that is being uploaded. Pieces are appended to it; it may already have the bytes of earlier parts.

    Use it from one thread at a time. `known` is the `hash_so_far` after the earlier parts, if the caller kept it: then
    their bytes need not be read again for the hash.
    """

    def __init__(self, path: Path, known: HashSoFar | None = None) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self.path = path
        self._file = os.fdopen(os.open(path, flags, PRIVATE_FILE), "r+b", buffering=0)
        self.size = self._file.seek(0, os.SEEK_END)
        self._written = self.size
        if self.size == 0:
            self._hash: Hash | None = hashlib.sha256()
        else:
            self._hash = known[1].copy() if known is not None and known[0] == self.size else None

    def append(self, piece: memoryview) -> None:
        """Write `piece` at the end. OSError when the disk is full; `size` then counts the bytes that were written.

        If the file was removed: UploadSuperseded (a newer upload of the file began) or ABORTED (its model was deleted).
        This is checked once per `WRITE_BEHIND` bytes.
        """
        while piece:
            taken = self._file.write(piece)
            if self._hash is not None:
                self._hash.update(piece[:taken])
            self.size += taken
            piece = piece[taken:]
        if self.size - self._written >= WRITE_BEHIND:
            self._write_behind()

    def _write_behind(self) -> None:
        if os.fstat(self._file.fileno()).st_nlink == 0:
            require_current(self.path)
            raise ApiError(Code.ABORTED, "this upload has ended: its model was deleted")
        # On Linux this starts writing to disk and does not wait; on other systems it has no effect.
        with contextlib.suppress(OSError, AttributeError):
            os.posix_fadvise(self._file.fileno(), self._written, self.size - self._written, os.POSIX_FADV_DONTNEED)
        self._written = self.size

    def sync(self) -> None:
        """Write all bytes to the disk (fsync)."""
        os.fsync(self._file.fileno())

    def sha256(self) -> str:
        """Return the sha256 of the whole file, hexadecimal."""
        if self._hash is not None:
            return self._hash.hexdigest()
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    @property
    def hash_so_far(self) -> HashSoFar | None:
        """The file's size and the state of its hash; None when the hash does not include the file's first bytes."""
        return (self.size, self._hash) if self._hash is not None else None

    def close(self) -> None:
        self._file.close()


def require_current(incoming: Path) -> None:
    """Raise UploadSuperseded when a later upload of the same file has begun."""
    if incoming.with_suffix(_OVER).exists():
        raise UploadSuperseded


def _digest(filename: str) -> str:
    return hashlib.sha256(filename.encode()).hexdigest()[:32]


def _folders(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink()] if path.is_dir() else []
