"""A file that has come in part: its bytes, which of them are there, and whether together they are the file.

Touches no network. Two hidden files beside the place where the whole one goes: the bytes, and one mark for each MiB.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from firectl.errors import ApiError, Code

UNIT = 1024 * 1024
"""Bytes a mark stands for: what a kill can lose of each range that is on its way."""
_WRITE = 64 * 1024
"""Bytes of one write. The system keeps larger ones in larger blocks of memory, which are slow to touch where a virtual
machine had given them back to its host (up to 1.5 ms a MiB); smaller ones cost more calls."""
_HEAD = 512
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_DONE = b"\x01"


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file as the server has it. `digests`: algorithm → hexadecimal, as far as it says."""

    size: int
    digests: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    has_ranges: bool = True

    @property
    def identity(self) -> str | None:
        """What tells this version from another; None when nothing does, and what came of it is of no use later."""
        known = {"size": self.size, "etag": self.etag, **self.digests}
        return json.dumps(known) if self.digests or self.etag else None


def has_content(path: Path, remote: Remote, check: Callable[[], None]) -> bool:
    """Whether the file at `path` is known to be the server's."""
    if not remote.digests or path.is_symlink() or not path.is_file() or path.stat().st_size != remote.size:
        return False
    algorithm, digest = next(iter(sorted(remote.digests.items(), reverse=True)))
    hash = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(UNIT):
            check()
            hash.update(chunk)
    return hash.hexdigest() == digest


class Partial:
    """The file on its way to `path`. OSError when the disk refuses. Ranges that do not overlap may be written at once.

    FAILED_PRECONDITION when another download, of this process or any other, writes it already. What was there of
    another version is dropped. The hash follows the writing: whoever completes the unit that it waits for takes it
    further. With `aside` that happens there, while the next unit comes; there may be one writer then, in order.
    """

    def __init__(self, path: Path, remote: Remote, aside: Executor | None = None) -> None:
        self.remote = remote
        self.lock = threading.Lock()
        self._path = path
        # The name is hashed: with something in front and behind, a long one would be too long.
        stem = path.parent / f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}"
        self._part, self._marks_path = stem.with_suffix(".part"), stem.with_suffix(".marks")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._units = -(-remote.size // UNIT)
        self._aside = aside
        self._running: Future[None] | None = None
        self._users = 0
        self._closing = False
        self._file = _open_alone(self._part, path)
        try:
            self._marks_file = _open(self._marks_path)
        except BaseException:
            os.close(self._file)
            raise
        self._head = (remote.identity or "").encode().ljust(_HEAD)
        self._marks = self._read_marks()
        self._hash_lock = threading.Lock()
        self._hashed = 0
        names = sorted(remote.digests, reverse=True)[:1]
        self._algorithm = names[0] if names else None
        self._hash = hashlib.new(names[0], usedforsecurity=False) if names else None

    def _read_marks(self) -> bytearray:
        found = os.pread(self._marks_file, _HEAD + self._units, 0)
        whole = len(found) == _HEAD + self._units and len(self._head) == _HEAD
        if whole and found[:_HEAD] == self._head and self._head.strip() and self._size() <= self.remote.size:
            there = self._size()
            marks = bytearray(found[_HEAD:])
            for unit in range(self._units):
                if min((unit + 1) * UNIT, self.remote.size) > there:
                    marks[unit] = 0
            return marks
        _empty(self._file)
        _empty(self._marks_file)
        os.pwrite(self._marks_file, self._head[:_HEAD] + bytes(self._units), 0)
        return bytearray(self._units)

    def _size(self) -> int:
        return os.fstat(self._file).st_size

    @property
    def done(self) -> int:
        """Bytes that are there."""
        units = sum(self._marks)
        last = self.remote.size - (self._units - 1) * UNIT
        return (units - 1) * UNIT + last if units and self._marks[-1] else units * UNIT

    def missing(self, longest: int) -> list[tuple[int, int]]:
        """The spans to fetch, each (start, end), starting at a unit, at most `longest` bytes."""
        spans: list[tuple[int, int]] = []
        for unit in (unit for unit, mark in enumerate(self._marks) if not mark):
            start, end = unit * UNIT, min((unit + 1) * UNIT, self.remote.size)
            if spans and spans[-1][1] == start and end - spans[-1][0] <= longest:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return spans

    def write(self, offset: int, data: memoryview) -> None:
        """Keep a unit, which starts at `offset`; the last one of a file may be shorter.

        `data` is free again once the writer's next call returns, this or `enter`.
        """
        unit = offset // UNIT
        with self._in_use():
            if self._aside is not None:
                self._settle()
                self._running = self._aside.submit(self._hash_unit, unit, data)
            _write_all(self._file, data, offset)
            # After the bytes: a kill in between loses the mark, never the other way round.
            os.pwrite(self._marks_file, _DONE, _HEAD + unit)
            self._marks[unit] = 1
            if self._aside is None and self._hash_lock.acquire(blocking=False):
                try:
                    self._update(unit, data)
                    self._follow(self._units)
                finally:
                    self._hash_lock.release()

    def enter(self) -> bool:
        """Put the file in its place if it is what it should be. If it is not, nothing is kept of it."""
        with self._in_use():
            self._settle()
            with self._hash_lock:
                self._follow(self._units)
            good = self._hash is None or self._hash.hexdigest() == self.remote.digests[self._algorithm or ""]
            # Still locked: whoever opened it meanwhile finds that it is no longer in this place.
            if good:
                os.replace(self._part, self._path)
            else:
                self._part.unlink(missing_ok=True)
            self._marks_path.unlink(missing_ok=True)
        self.close()
        return good

    def close(self) -> None:
        """Leave it as it is, for a later run; what is half a unit goes. Whoever still writes does so first."""
        with self.lock:
            self._closing = True
            self._close_if_unused()

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """The descriptors stay open meanwhile: the system would give their numbers to other files."""
        with self.lock:
            if self._closing:
                raise OSError(errno.EBADF, "closed")
            self._users += 1
        try:
            yield
        finally:
            with self.lock:
                self._users -= 1
                self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closing and self._users == 0:
            for descriptor in (self._file, self._marks_file):
                if descriptor >= 0:
                    os.close(descriptor)
            self._file = self._marks_file = -1

    def _hash_unit(self, unit: int, data: memoryview) -> None:
        with self._in_use(), self._hash_lock:
            # What an earlier run left.
            self._follow(unit)
            self._update(unit, data)

    def _update(self, unit: int, data: memoryview) -> None:
        if self._hash is not None and self._hashed == unit:
            self._hash.update(data)
            self._hashed += 1

    def _follow(self, end: int) -> None:
        while self._hash is not None and self._hashed < end and self._marks[self._hashed]:
            self._hash.update(os.pread(self._file, UNIT, self._hashed * UNIT))
            self._hashed += 1

    def _settle(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None


def _empty(descriptor: int) -> None:
    # Not one that is empty: ext4 takes that for a file being replaced, and its close then waits for the disk.
    if os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, 0)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data[:_WRITE], offset)
        offset += written
        data = data[written:]


def _open(path: Path) -> int:
    # Whatever lies there that is no file is not ours, and would keep us waiting or lead elsewhere.
    if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.lstat().st_mode)):
        path.unlink()
    return os.open(path, _FLAGS, 0o666)


def _open_alone(part: Path, path: Path) -> int:
    """As `_open`, held until it is closed or the process ends. FAILED_PRECONDITION when another holds it."""
    while True:
        descriptor = _open(part)
        try:
            _lock(descriptor, path)
            # The download before may have ended between the two: what was opened is then the file in its place.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), part.lstat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


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
