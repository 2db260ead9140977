"""How a merge keeps processor and disk busy at once: one thread computes, one writes, one sends bytes to the disk.

No second thread computes: numpy's steps are so short that two threads spend their time handing the interpreter over.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from types import TracebackType

FLUSH = 64 * 2**20
"""Bytes written after which they are sent to the disk."""
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
