"""Runs several transfers at once on threads. When one fails, all end at once.

Must not depend on files or URLs.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firectl.client.api import Api

WORKERS = 8
END_SECONDS = 0.5
"""How long to wait for threads to end. A slow disk or name server may take longer."""


class TransferStopped(Exception):
    """Raised in a transfer to end it, because another one failed or was interrupted."""


class WorkerPool:
    """Run jobs on threads. Use it in a `with`. Jobs must send with `sender`, and call `check` often.

    `run` may be called more than once.
    """

    def __init__(self, client: Api) -> None:
        self._stop = threading.Event()
        self.sender = client.sender.copy(sleep=self._sleep)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.connections.close()

    def check(self) -> None:
        """Raise TransferStopped if this transfer must end."""
        if self._stop.is_set():
            raise TransferStopped

    def run(self, jobs: Iterable[Callable[[], None]]) -> None:
        """Run the jobs, at most 8 at once. The first error, or Ctrl-C, ends the other jobs and is raised."""
        todo: deque[Callable[[], None] | None] = deque([*jobs, *[None] * WORKERS])
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                while job := todo.popleft():
                    self.check()
                    job()
                ended.put(None)
            except BaseException as error:
                ended.put(error)

        # Daemon threads: one that is stuck in a system call must not keep an interrupted program alive.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(WORKERS, len(todo) - WORKERS))]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                if (error := ended.get()) is not None:
                    raise error
        except BaseException:
            self._stop.set()
            self.sender.connections.abort()
            raise
        finally:
            end = time.monotonic() + END_SECONDS
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self.check()
