"""How many bytes have been transferred, of each file and in total? Can be called from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STEP = 1024 * 1024
"""How many bytes of a file are transferred between two calls of `on_progress`."""


@dataclass(frozen=True)
class TransferProgress:
    """Bytes of one file (`done`, `size`) and of all files (`total_…`). `size` is None until the server states it.

    `moved`: bytes of all files that were transferred in this run, without bytes that were already there.
    """

    file: str
    done: int
    size: int | None
    total_done: int
    total_size: int
    moved: int


class Meter:
    """Count the transferred bytes of each file, and report them. Only one thread at a time calls `on_progress`."""

    def __init__(self, sizes: Mapping[str, int | None], on_progress: Callable[[TransferProgress], None] | None) -> None:
        self._sizes = dict(sizes)
        self._done: dict[str, int] = {}
        self._reported: dict[str, int] = {}
        self._moved = 0
        self._total_done = 0
        self._total_size = sum(size or 0 for size in sizes.values())
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def at(self, file: str, done: int, *, moved: bool = True) -> None:
        """Record that `done` bytes of `file` are there (can decrease).

        `moved`: whether this run transferred the new bytes.
        """
        with self._lock:
            change = done - self._done.get(file, 0)
            self._done[file] = done
            self._total_done += change
            self._moved += max(change, 0) if moved else 0
            reported, size = self._reported.get(file), self._sizes[file]
            due = reported is None or not 0 <= done - reported < STEP or (done == size and done != reported)
            if self._on_progress is not None and due:
                self._reported[file] = done
                totals = self._total_done, self._total_size, self._moved
                self._on_progress(TransferProgress(file, done, size, *totals))

    def set_size(self, file: str, size: int) -> None:
        with self._lock:
            self._total_size += size - (self._sizes[file] or 0)
            self._sizes[file] = size
