"""How far are the transfers, each file and all together? One account of bytes, kept from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STEP = 1024 * 1024
"""Bytes of a file between two reports."""


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
        self._told: dict[str, int] = {}
        self._moved = 0
        self._total_done = 0
        self._total_size = sum(size or 0 for size in sizes.values())
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def at(self, file: str, done: int, *, travelled: bool = True) -> None:
        """`file` is at `done` bytes, which may be fewer than before.

        `travelled` is False for bytes that came in an earlier run, or never had to.
        """
        with self._lock:
            change = done - self._done.get(file, 0)
            self._done[file] = done
            self._total_done += change
            self._moved += max(change, 0) if travelled else 0
            told, size = self._told.get(file), self._sizes[file]
            if self._on_progress is None or done == told:
                return
            if told is None or done == size or not 0 < done - told < STEP:
                self._told[file] = done
                self._on_progress(
                    Progress(
                        file=file,
                        done=done,
                        size=size,
                        total_done=self._total_done,
                        total_size=self._total_size,
                        moved=self._moved,
                    )
                )

    def is_size(self, file: str, size: int) -> None:
        """The server has said how large `file` is."""
        with self._lock:
            self._total_size += size - (self._sizes[file] or 0)
            self._sizes[file] = size
