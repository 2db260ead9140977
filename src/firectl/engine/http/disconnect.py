"""Cancel the work on a request when its client disconnects.

Must not depend on what the work does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from firectl import sse

_Result = TypeVar("_Result")
_EVENT_STREAM = [(name.encode(), value.encode()) for name, value in sse.HEADERS.items()]


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, _Result]) -> _Result | None:
    """Return the result of `work`. If the client disconnects first, cancel `work` and return None."""
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for each in (task, disconnected):
            each.cancel()
        await asyncio.gather(task, disconnected, return_exceptions=True)


class EventStream:
    """An answer that sends each event as soon as it exists. Closes `events` if the client disconnects."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # OSError: a write to a connection that has just closed.
        with contextlib.suppress(OSError):
            await unless_disconnected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async with contextlib.aclosing(self._events):
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
            async for event in self._events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
