"""Several transfers at once: threads over connections of their own, which all end when one fails, and at once.

Knows neither files nor URLs.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from firectl.client.api import Api

WORKERS = 8
END_SECONDS = 0.5
"""How long threads are waited for that were told to end: a moment, unless a disk or a name server is slow."""
_CONNECTED = (".connect_tcp.complete", ".start_tls.complete")

Job = Callable[[], None]


class Stopped(Exception):
    """Ends a transfer because another one failed."""


class Crew:
    """Use it in a `with`; `run` may be called more than once. `sender` is for its jobs, which call `check` often."""

    def __init__(self, client: Api) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._streams: WeakSet[Any] = WeakSet()
        self.sender = client.sender.apart(wait=self._wait, trace=self._trace)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.close()

    def check(self) -> None:
        """Stopped when the transfers are to end."""
        if self._stop.is_set():
            raise Stopped

    def run(self, jobs: Iterable[Job]) -> None:
        """Carry out the jobs, a few at once. The first error ends all others and is raised; Ctrl-C does the same."""
        todo: deque[Job | None] = deque([*jobs, *[None] * WORKERS])
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                while job := todo.popleft():
                    self.check()
                    job()
                ended.put(None)
            except BaseException as error:
                ended.put(error)

        # Daemons: one that is stuck in the system must not keep an interrupted program from ending.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(WORKERS, len(todo) - WORKERS))]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                if (error := ended.get()) is not None:
                    raise error
        except BaseException:
            self._abort()
            raise
        finally:
            end = time.monotonic() + END_SECONDS
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))

    def _abort(self) -> None:
        """Wake the threads that wait for a server. Shut down, not closed: each closes its own, as after any error."""
        with self._lock:
            self._stop.set()
            streams = list(self._streams)
        for stream in streams:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own: it drops the encryption before the connection.
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if not event.endswith(_CONNECTED):
            return
        with self._lock:
            if not self._stop.is_set():
                self._streams.add(info["return_value"])
                return
        # Nobody else would ever know of it.
        info["return_value"].close()
        raise Stopped

    def _wait(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self.check()
