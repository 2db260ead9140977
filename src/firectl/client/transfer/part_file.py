"""A file that has arrived in part: a hidden `.part` file beside its final path, renamed once it is whole.

Uses no network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from firectl.client.transfer.files import CHUNK
from firectl.client.transfer.hashes import MD5, SHA256, hashed
from firectl.errors import ApiError, Code

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file on the server. `digests`: algorithm → hexadecimal; empty if the server states none."""

    size: int
    digests: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    has_ranges: bool = True


def has_content(path: Path, remote: RemoteFile, check: Callable[[], None]) -> bool:
    """Whether the file at `path` has the content of the server's."""
    if not remote.digests or path.is_symlink() or not path.is_file() or path.stat().st_size != remote.size:
        return False
    algorithm = SHA256 if SHA256 in remote.digests else MD5
    with path.open("rb", buffering=0) as file:
        return hashed(iter(partial(file.read, CHUNK), b""), algorithm, check) == remote.digests[algorithm]


class PartFile:
    """The bytes of `path` that have arrived. For one thread. After `close`, the part file stays for the next run.

    OSError if the file cannot be written. FAILED_PRECONDITION if another download, in any process, writes to it.
    Deletes the part files of other versions of the file.
    """

    def __init__(self, path: Path, remote: RemoteFile) -> None:
        self.remote = remote
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Hash the name: with a prefix and suffix, a long name would exceed the file system's limit.
        stem = f".{_short(path.name, 16)}."
        version = json.dumps([remote.size, remote.etag, *sorted(remote.digests.items())])
        self._part = path.with_name(f"{stem}{_short(version, 8)}.part")
        for name in os.listdir(path.parent):
            if name.startswith(stem) and name != self._part.name:
                with _open_alone(path.with_name(name), path):
                    path.with_name(name).unlink()
        self._file = _open_alone(self._part, path)
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            if self.size > remote.size or not (remote.digests or remote.etag):
                self.clear()
            self._file.seek(self.size)
        except BaseException:
            self.close()
            raise

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = self._file.write(view)
            self.size += written
            view = view[written:]

    def clear(self) -> None:
        """Delete all bytes that have arrived."""
        # An empty file is not truncated: ext4 takes that for a replacement, and closing then waits for the disk.
        if self.size:
            self._file.truncate(0)
            self._file.seek(0)
        self.size = 0

    def enter(self, check: Callable[[], None]) -> bool:
        """Check the complete file's hash. If right, rename the file to its final path; otherwise delete it.

        Return whether right.
        """
        good = not self.remote.digests or has_content(self._part, self.remote, check)
        # The file is still locked. Another download that has opened it will find that its path has changed.
        if good:
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)
        return good

    def close(self) -> None:
        self._file.close()


def _short(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _open_alone(part: Path, path: Path) -> BinaryIO:
    """Open and lock `part`; closing unlocks it. FAILED_PRECONDITION if another download has locked it."""
    while True:
        # Remove a pipe, which would block, or a link, which leads elsewhere: no download has made it.
        if part.is_symlink() or (part.exists() and not stat.S_ISREG(part.lstat().st_mode)):
            part.unlink()
        file = os.fdopen(os.open(part, _FLAGS, 0o666), "r+b", buffering=0)
        try:
            _lock(file.fileno(), path)
            # An earlier download may have renamed it between opening and locking.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), part.lstat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(descriptor: int, path: Path) -> None:
    # Continue without a lock where the operating system or file system has none.
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"another download is writing {path}",
                hint="wait until it has ended, or use another folder",
            ) from None
