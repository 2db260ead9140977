"""Several transfers at once: threads that stop when one fails, and one account of how far they are."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one file is, in bytes, and all of them together. `size` is None until the server has said it."""

    file: str
    done: int
    size: int | None
    total_done: int
    total_size: int


class Stopped(Exception):
    """Ends a transfer because another one failed."""


class Meter:
    """Counts bytes by file, from any thread. `on_progress` is never called twice at once."""

    def __init__(self, sizes: dict[str, int | None], on_progress: Callable[[Progress], None] | None) -> None:
        self._sizes = sizes
        self._done: dict[str, int | None] = dict.fromkeys(sizes)
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self.stop = threading.Event()

    def at(self, file: str, done: int) -> None:
        """`file` is at `done` bytes, which may be fewer than before; Stopped when the transfer is to end."""
        if self.stop.is_set():
            raise Stopped
        with self._lock:
            changed = self._done[file] != done
            self._done[file] = done
            if changed and self._on_progress is not None:
                self._on_progress(
                    Progress(
                        file=file,
                        done=done,
                        size=self._sizes[file],
                        total_done=sum(done or 0 for done in self._done.values()),
                        total_size=sum(size or 0 for size in self._sizes.values()),
                    )
                )

    def is_size(self, file: str, size: int) -> None:
        with self._lock:
            self._sizes[file] = size


def run_all(jobs: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    """Runs the jobs, a few at once. The first error sets `stop` and is raised; Ctrl-C does the same, without delay."""
    todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)

    def work() -> None:
        while not stop.is_set():
            try:
                job = todo.get_nowait()
            except queue.Empty:
                return
            try:
                job()
            except BaseException as error:
                ended.put(error)
                return
            ended.put(None)

    # Daemons: a thread that waits for a slow server must not keep an interrupted program from ending.
    for _ in range(min(WORKERS, len(jobs))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in jobs:
            error = ended.get()
            if error is not None:
                raise error
    finally:
        stop.set()
