"""Keep processor and disk busy during a merge: one thread computes; others write, hash and flush.

A second computing thread would not help: numpy's steps are so short that both would wait for Python's lock.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from firectl.lora.read.hashing import FileHash

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

FLUSH = 64 * 2**20
"""Flush to the disk after this many bytes."""
_PIECE = 1 << 20
AHEAD = 3
"""Number of pieces that may wait to be written while the next one is computed."""


def write_behind(pieces: Iterable[Callable[[], int]]) -> Generator[int]:
    """Call each piece in order on another thread while the next piece is made. Yields the return value of each.

    Stops at the first error. While a piece is made, at most the `AHEAD` pieces before it wait to be called.
    """
    with ThreadPoolExecutor(1, "writer") as pool:
        waiting: deque[Future[int]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(piece))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class BackgroundCalls:
    """Calls functions in order on a thread of its own, until one raises OSError.

    The next `call`, or the end of the `with` block, raises that error. If the block fails, waiting calls are dropped.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)
        self._error: OSError | None = None

    def call(self, work: Callable[[], object]) -> None:
        self._raise()
        self._pool.submit(self._run, work)

    def _run(self, work: Callable[[], object]) -> None:
        if self._error is None:
            try:
                work()
            except OSError as error:
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            self._raise()


class Flusher(BackgroundCalls):
    """Flushes written bytes to the disk while more are computed, so that the end of the merge is short.

    The kernel reports a failed write only once, so this class keeps the error: a later fsync would succeed.
    """

    def __init__(self) -> None:
        super().__init__("flusher")
        self._since = 0

    def wrote(self, target: FileIO, count: int) -> None:
        """Count `count` bytes that were written to a file, and flush the file after every `FLUSH` bytes."""
        self._since += count
        if self._since >= FLUSH:
            self._since = 0
            self.call(partial(_flush, target))

    def close(self, target: FileIO) -> None:
        """Queue a flush and then the closing of a file."""
        self._since = 0
        self.call(partial(_flush, target))
        self.call(target.close)


class Hasher(BackgroundCalls):
    """Hashes files while they are written, from the page cache."""

    def __init__(self) -> None:
        super().__init__("hasher")
        self._digests: dict[Path, tuple[Hash, int]] = {}
        self._buffer = memoryview(bytearray(_PIECE))

    @property
    def hashes(self) -> dict[str, FileHash]:
        """File name → size and sha256. Complete after the `with` block."""
        return {path.name: FileHash(size, digest.hexdigest()) for path, (digest, size) in self._digests.items()}

    def wrote(self, path: Path, count: int) -> None:
        """Queue the hashing of the next `count` bytes of a file. They must be written already."""
        self.call(partial(self._read, path, count))

    def _read(self, path: Path, count: int) -> None:
        digest, size = self._digests.get(path) or (hashlib.sha256(), 0)
        end = size + count
        with path.open("rb", buffering=0) as file:
            file.seek(size)
            while size < end:
                found = file.readinto(self._buffer[: end - size])
                if not found:
                    raise OSError(f"{path} is shorter than what was written to it")
                digest.update(self._buffer[:found])
                size += found
        self._digests[path] = digest, size


def _flush(target: FileIO) -> None:
    getattr(os, "fdatasync", os.fsync)(target.fileno())
