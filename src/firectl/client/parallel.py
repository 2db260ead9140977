"""Several transfers at once: threads over connections of their own, which all end when one fails, and at once.

Knows neither files nor URLs.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from firectl.client.sender import Sender

if TYPE_CHECKING:
    from firectl.client.client import Client

WORKERS = 8
END_SECONDS = 0.5
"""How long threads are waited for that were told to end: a moment, unless a disk or a name server is slow."""
_CONNECTED = (".connect_tcp.complete", ".start_tls.complete")

Job = Callable[[], None]


class Stopped(Exception):
    """Ends a transfer because another one failed."""


class Crew:
    """Use it in a `with`; `run` may be called more than once. `sender` is for its jobs, which call `check` often."""

    def __init__(self, client: Client, workers: int = WORKERS) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._streams: list[Any] = []
        self._todo: queue.LifoQueue[Job] = queue.LifoQueue()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._left = 0
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self.sender: Sender = client.sender.apart(wait=self._wait, trace=self._trace)
        self.hashers = ThreadPoolExecutor(2, thread_name_prefix="hash")
        """For work that leaves the interpreter's lock alone while bytes are on their way."""

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.hashers.shutdown(wait=False, cancel_futures=True)
        self.sender.close()

    def check(self) -> None:
        """Stopped when the transfers are to end."""
        if self._stop.is_set():
            raise Stopped

    def add(self, jobs: Sequence[Job]) -> None:
        """More jobs, from within a job, to be taken in their order before those that wait: what is begun is ended."""
        with self._lock:
            self._left += len(jobs)
        for job in reversed(jobs):
            self._todo.put(job)

    def run(self, jobs: Iterable[Job]) -> None:
        """Carry out the jobs, a few at once. The first error ends all others and is raised; Ctrl-C does the same."""
        self.add(list(jobs))
        # Daemons: one that is stuck in the system must not keep an interrupted program from ending.
        count = self._workers if self._left else 0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        try:
            while self._left:
                error = self._ended.get()
                if error is not None:
                    raise error
                with self._lock:
                    self._left -= 1
        except BaseException:
            self._abort()
            raise
        finally:
            for _ in self._threads:
                self._todo.put(_leave)
            end = time.monotonic() + END_SECONDS
            for thread in self._threads:
                thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while not self._stop.is_set():
            job = self._todo.get()
            if job is _leave:
                return
            try:
                job()
            except BaseException as error:
                self._ended.put(error)
                return
            self._ended.put(None)

    def _abort(self) -> None:
        """Wake whoever waits for a server. Shut down, not closed: the thread that waits closes, as after any error."""
        with self._lock:
            self._stop.set()
            streams, self._streams = self._streams, []
        for stream in streams:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own: it drops the encryption before the connection.
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if not event.endswith(_CONNECTED):
            return
        with self._lock:
            if not self._stop.is_set():
                self._streams.append(info["return_value"])
                return
        # Nobody else would ever know of it.
        info["return_value"].close()
        raise Stopped

    def _wait(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self.check()


def _leave() -> None:
    """The job that ends a thread."""
