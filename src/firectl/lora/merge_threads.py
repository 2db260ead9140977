"""How a merge keeps processor and disk busy at once: some pieces at a time, and bytes sent to the disk as they come."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

FLUSH = 128 * 2**20
"""Bytes written after which they are sent to the disk."""


def in_order(pieces: Iterable[Callable[[], int]], threads: int) -> Iterator[int]:
    """What each piece returns, in their order; some run ahead. The first error ends it, and the others with it."""
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[int]] = deque()
        try:
            for piece in pieces:
                running.append(pool.submit(piece))
                if len(running) > 2 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


class Flusher:
    """Sends what was written to the disk while more is computed, so that little is left to wait for at the end.

    OSError, from `wrote` or from the end of the block, if the disk did not take it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._since = 0
        self._due = threading.Event()
        self._ended = False
        self._failed: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def wrote(self, count: int) -> None:
        """Count bytes that were written. OSError if earlier ones did not reach the disk."""
        self._raise()
        self._since += count
        if self._since >= FLUSH:
            self._since = 0
            self._due.set()

    def __enter__(self) -> Flusher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._due.set()
        self._thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        # The kernel tells of a failed write once: the fsync at the end of a merge would succeed.
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        flush = getattr(os, "fdatasync", os.fsync)
        while True:
            self._due.wait()
            self._due.clear()
            if self._ended:
                return
            try:
                flush(self._target)
            except OSError as error:
                self._failed = error
                return
