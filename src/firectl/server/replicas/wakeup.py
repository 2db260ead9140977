"""How does the reconcile loop learn that a row changed? An event that any thread may set and one task waits for.

The event carries no data: the loop reads the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Wakeup:
    """Lets any thread wake one task. A poke before the wait ends that wait at once; several pokes count as one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poked = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def poke(self) -> None:
        """Wake the waiting task. Never blocks. Can be called from any thread."""
        with self._lock:
            self._poked = True
            waiting = self._waiting
        if waiting is not None:
            loop, event = waiting
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a poke, at most `timeout` seconds, and clear it. True if one came. Only one task may wait."""
        event = asyncio.Event()
        with self._lock:
            self._waiting = (asyncio.get_running_loop(), event)
            if self._poked:
                event.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await event.wait()
        with self._lock:
            poked, self._poked, self._waiting = self._poked, False, None
        return poked
