"""How a merge keeps processor and disk busy at once: threads compute, write, hash, and send bytes to the disk.

No second thread computes: numpy's steps are so short that two threads spend their time handing the interpreter over.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from firectl.lora.read.hashing import FileHash

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

FLUSH = 64 * 2**20
"""Bytes written after which they are sent to the disk."""
_PIECE = 1 << 20
AHEAD = 3
"""Pieces that may wait to be written while the next is computed."""


def write_behind(pieces: Iterable[Callable[[], int]]) -> Generator[int]:
    """Call each piece on a thread beside, in their order, while the next is made; yields what each returns.

    The first error ends it. Of `AHEAD + 1` pieces in a row the first has been called before the last is asked for.
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


class Flusher:
    """Sends what was written to the disk while more is computed, so that little is left to wait for at the end.

    OSError, from `wrote` or from the end of the block, if the disk did not take it.
    """

    def __init__(self) -> None:
        self._since = 0
        self._due: queue.SimpleQueue[tuple[FileIO, bool] | None] = queue.SimpleQueue()
        self._failed: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def wrote(self, target: FileIO, count: int) -> None:
        """Count bytes that were written. OSError if earlier ones did not reach the disk."""
        self._raise()
        self._since += count
        if self._since >= FLUSH:
            self._since = 0
            self._due.put((target, False))

    def wrote_all(self, target: FileIO) -> None:
        """Nothing more will be written to this file: it is closed once it is on the disk."""
        self._since = 0
        self._due.put((target, True))

    def __enter__(self) -> Flusher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._due.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        # The kernel tells of a failed write once: the fsync at the end of a merge would succeed.
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        flush = getattr(os, "fdatasync", os.fsync)
        while (due := self._due.get()) is not None:
            target, is_whole = due
            try:
                flush(target.fileno())
                if is_whole:
                    target.close()
            except OSError as error:
                self._failed = error
                return


class Hasher:
    """Hashes files while they are written, on its own thread: it reads what was just written from the page cache.

    `hashes` has size and sha256 of every file at the end of the block. OSError, from there, if one cannot be read.
    """

    def __init__(self) -> None:
        self.hashes: dict[str, FileHash] = {}
        self._growing: dict[Path, _Growing] = {}
        self._due: queue.SimpleQueue[tuple[Path, int] | None] = queue.SimpleQueue()
        self._failed: OSError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hasher", daemon=True)

    def wrote(self, path: Path, count: int) -> None:
        """The next `count` bytes of a file are there."""
        self._due.put((path, count))

    def __enter__(self) -> Hasher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._over.set()
        self._due.put(None)
        self._thread.join()
        for growing in self._growing.values():
            growing.file.close()
        if error is None and self._failed is not None:
            raise self._failed
        self.hashes = {path.name: FileHash(each.size, each.digest.hexdigest()) for path, each in self._growing.items()}

    def _run(self) -> None:
        buffer = memoryview(bytearray(_PIECE))
        while (due := self._due.get()) is not None and not self._over.is_set():
            path, count = due
            try:
                if path not in self._growing:
                    self._growing[path] = _Growing(FileIO(path), hashlib.sha256())
                self._growing[path].read(count, buffer, self._over)
            except OSError as error:
                self._failed = error
                return


@dataclass
class _Growing:
    file: FileIO
    digest: Hash
    size: int = 0

    def read(self, count: int, buffer: memoryview, over: threading.Event) -> None:
        while count and not over.is_set():
            found = self.file.readinto(buffer[: min(count, len(buffer))])
            if not found:
                raise OSError(f"{self.file.name} is shorter than what was written to it")
            self.digest.update(buffer[:found])
            self.size += found
            count -= found
