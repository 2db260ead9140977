"""When did a deployment last get a request? Told to the store at once when it was quiet, else every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from firectl.server.store import Store

_EVERY = timedelta(seconds=2)


class Activity:
    """Times of real requests; probes are not told to it."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._last: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def last_request_time(self, deployment: str) -> datetime | None:
        """The newest time known here, ahead of the row by a few seconds at most; None when it got none since start."""
        return self._last.get(deployment)

    def touch(self, deployment: str) -> None:
        """A request for it was admitted now."""
        self._last[deployment] = self._now()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_soon())

    async def flush(self) -> None:
        """Write what is not written yet."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        await asyncio.to_thread(self._write)

    async def _write_soon(self) -> None:
        while self._unwritten():
            await asyncio.to_thread(self._write)
            await asyncio.sleep(_EVERY.total_seconds())

    def _unwritten(self) -> dict[str, datetime]:
        return {name: time for name, time in self._last.copy().items() if self._written.get(name) != time}

    def _write(self) -> None:
        unwritten = self._unwritten()
        if not unwritten:
            return
        with self._store.begin() as tx:
            for name, time in unwritten.items():
                tx.deployments.update(name, last_request_time=time)
        self._written |= unwritten
