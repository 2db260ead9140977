"""How does control tell reconcile that a row changed? A bell that any thread may ring and one task waits for.

It carries no news: who hears it looks at the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Wakeup:
    """A ring is never lost: one that came before the wait ends it at once. Several rings count as one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rung = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def poke(self) -> None:
        """Ring; never blocks, from any thread or from the event loop."""
        with self._lock:
            self._rung = True
            waiting = self._waiting
        if waiting is not None:
            loop, event = waiting
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there to hear
                loop.call_soon_threadsafe(event.set)

    async def wait(self, timeout: float | None = None) -> bool:
        """Until rung, or `timeout` seconds; True when rung. Quiet again afterwards. For one task at a time."""
        event = asyncio.Event()
        with self._lock:
            self._waiting = (asyncio.get_running_loop(), event)
            if self._rung:
                event.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await event.wait()
        with self._lock:
            rung, self._rung, self._waiting = self._rung, False, None
        return rung
