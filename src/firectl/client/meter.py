"""How far are the transfers, each file and all together? One account of bytes, kept from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one file is, in bytes, and all of them together. `size` is None until the server has said it.

    `moved` counts what has travelled in this run, over all files: `total_done` less what was there before.
    """

    file: str
    done: int
    size: int | None
    total_done: int
    total_size: int
    moved: int


class Meter:
    """`on_progress` is never called twice at once."""

    def __init__(self, sizes: Mapping[str, int | None], on_progress: Callable[[Progress], None] | None) -> None:
        self._sizes = dict(sizes)
        self._done: dict[str, int] = {}
        self._total_done = 0
        self._total_size = sum(size or 0 for size in sizes.values())
        self._moved = 0
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def at(self, file: str, done: int) -> None:
        """`file` is at `done` bytes, which may be fewer than before."""
        with self._lock:
            change = done - self._done.get(file, 0)
            self._moved += max(change, 0)
            self._set(file, done)

    def add(self, file: str, count: int) -> None:
        """So many bytes of `file` more have travelled."""
        with self._lock:
            self._moved += count
            self._set(file, self._done.get(file, 0) + count)

    def lost(self, file: str, count: int) -> None:
        """So many bytes of `file` that have travelled have to travel again."""
        with self._lock:
            self._set(file, self._done.get(file, 0) - count)

    def had(self, file: str, done: int) -> None:
        """`file` is at `done` bytes, which travelled in an earlier run or never."""
        with self._lock:
            self._set(file, done)

    def is_size(self, file: str, size: int) -> None:
        with self._lock:
            self._total_size += size - (self._sizes[file] or 0)
            self._sizes[file] = size

    def _set(self, file: str, done: int) -> None:
        before = self._done.get(file)
        self._done[file] = done
        self._total_done += done - (before or 0)
        if before != done and self._on_progress is not None:
            self._on_progress(
                Progress(
                    file=file,
                    done=done,
                    size=self._sizes[file],
                    total_done=self._total_done,
                    total_size=self._total_size,
                    moved=self._moved,
                )
            )
