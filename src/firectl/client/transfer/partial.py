"""A file that has come in part: a hidden `.part` beside its place, filled at its end, put in place once it is whole.

Touches no network.
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
class Remote:
    """A file as the server has it. `digests`: algorithm → hexadecimal, as far as it says."""

    size: int
    digests: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    has_ranges: bool = True


def has_content(path: Path, remote: Remote, check: Callable[[], None]) -> bool:
    """Whether the file at `path` is known to be the server's."""
    if not remote.digests or path.is_symlink() or not path.is_file() or path.stat().st_size != remote.size:
        return False
    algorithm = SHA256 if SHA256 in remote.digests else MD5
    with path.open("rb", buffering=0) as file:
        return hashed(iter(partial(file.read, CHUNK), b""), algorithm, check) == remote.digests[algorithm]


class Partial:
    """The file on its way to `path`, for one thread. OSError when the disk refuses. Close it: what came stays.

    FAILED_PRECONDITION when another download, of this process or any other, writes it already. What was there of
    another version, or from an earlier release, is dropped.
    """

    def __init__(self, path: Path, remote: Remote) -> None:
        self.remote = remote
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name is hashed: with something in front and behind, a long one would be too long.
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
        """Begin again from the first byte."""
        # Not one that is empty: ext4 takes that for a file being replaced, and its close then waits for the disk.
        if self.size:
            self._file.truncate(0)
            self._file.seek(0)
        self.size = 0

    def enter(self, check: Callable[[], None]) -> bool:
        """Put the file in its place if it is what it should be. If it is not, nothing is kept of it."""
        good = not self.remote.digests or has_content(self._part, self.remote, check)
        # Still locked: whoever opened it meanwhile finds that it is not in this place any more.
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
    """`part` to read and write, held until it is closed or the process ends; see `Partial` for one that is held."""
    while True:
        # Whatever lies there that is no file is not ours, and would keep us waiting or lead elsewhere.
        if part.is_symlink() or (part.exists() and not stat.S_ISREG(part.lstat().st_mode)):
            part.unlink()
        file = os.fdopen(os.open(part, _FLAGS, 0o666), "r+b", buffering=0)
        try:
            _lock(file.fileno(), path)
            # The download before may have ended between the two: what was opened is then the file in its place.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), part.lstat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(descriptor: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"another download is writing {path}",
            hint="wait until it has ended, or name another folder",
        ) from None
    except OSError:
        # A file system without locks.
        return
