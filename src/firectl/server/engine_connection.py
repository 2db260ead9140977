"""One socket to an engine of this machine, and the answer that comes over it: HTTP/1.1, one exchange after the other.

httptools reads it, where it arrives: a task is woken for what it can use, and not for a head, a size and an end of a
chunk apart. Must not know what is asked, and keeps no connection: who may use one again is told when its exchange ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import httptools

_HELD = 256 << 10
"""Bytes of an answer that wait for whoever reads it, until the engine has to."""
_LIMIT = 64 << 20
_CLOSED = "the engine closed the connection"


class EngineGone(Exception):
    """The connection was refused, reset or cut short: the engine is not there any more, or not yet."""


@dataclass(frozen=True)
class Answer:
    """A whole answer: `json()` is None where the body is none."""

    status: int
    body: bytes

    def json(self) -> object:
        try:
            value: object = json.loads(self.body)
        except ValueError:
            return None
        return value

    def error_message(self) -> str:
        """What the engine says is wrong, in any of the shapes engines use."""
        document = self.json()
        if isinstance(document, Mapping):
            error = document.get("error", document)
            for holder in (error, document):
                message = holder.get("message") if isinstance(holder, Mapping) else None
                if isinstance(message, str) and message:
                    return message
            for value in (document.get("detail"), error):
                if isinstance(value, str) and value:
                    return value
        return f"the engine answered HTTP {self.status}"


class Connection(asyncio.Protocol):
    """A socket. What comes belongs to the exchange that has it; `lost` is called once it is closed."""

    def __init__(self, lost: Callable[[Connection], None]) -> None:
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport
        self.idle_since = 0.0
        self._lost = lost

    @property
    def usable(self) -> bool:
        return not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.exchange is None:
            # Nobody asked: whatever follows could be taken for an answer to somebody else.
            self.transport.abort()
        else:
            self.exchange.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.exchange is not None:
            self.exchange.cut(exc)
        self._lost(self)


class Exchange:
    """A request that was sent and the answer as it comes in. Close it, whatever happened, to let the engine go: an
    answer that came whole leaves its connection to the next exchange, any other ends it."""

    def __init__(self, connection: Connection, keep: Callable[[Connection], None]) -> None:
        self.status = 0
        self.retry_after: str | None = None
        self.begun = False
        """Whether anything of the answer came."""
        self._connection = connection
        self._keep = keep
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._held = 0
        self._paused = False
        self._bounded = False
        self._headed = False
        self._whole = False
        self._lasting = False
        """Came whole, and the engine will take another request on its connection."""
        self._broken: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        connection.exchange = self

    async def send(self, request: bytes) -> None:
        """Send it and wait for the head of its answer. EngineGone when none comes."""
        self._connection.transport.write(request)
        while not self._headed:
            if self._broken is not None:
                raise EngineGone(self._broken)
            await self._more()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. EngineGone when it is cut short."""
        while True:
            if self._pieces:
                data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces.clear()
                self._held = 0
                if self._paused:
                    self._paused = False
                    self._connection.transport.resume_reading()
                yield data
            elif self._whole:
                return
            elif self._broken is not None:
                raise EngineGone(f"in the middle of its answer: {self._broken}")
            else:
                await self._more()

    async def answer(self) -> Answer:
        """The whole answer."""
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            parts.append(part)
            size += len(part)
            if size > _LIMIT:
                raise EngineGone("the engine's answer is larger than the platform takes")
        return Answer(self.status, b"".join(parts))

    def close(self) -> None:
        """The connection is free, or hung up: an answer that is still being made is given up by the engine."""
        if self._parser is None:
            return
        # It and this object hold each other.
        self._parser = None
        connection = self._connection
        connection.exchange = None
        transport = connection.transport
        # An answer can come before all of its request is sent: what is left of that is no beginning of another.
        if self._lasting and not transport.get_write_buffer_size():
            if self._paused:
                transport.resume_reading()
            self._keep(connection)
        else:
            transport.abort()

    def feed(self, data: bytes) -> None:
        """What came over the connection."""
        self.begun = True
        if self._parser is None or self._whole:
            self._break("the engine said more than its answer")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(f"not an answer in HTTP: {error or type(error).__name__}")
        else:
            self._wake()

    def cut(self, error: Exception | None) -> None:
        """The connection is closed."""
        if error is None and self._headed and not self._bounded:
            # Nothing but this says where such an answer ends.
            self._whole = True
        if self._broken is None:
            self._broken = (str(error) or type(error).__name__) if error is not None else _CLOSED
        self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            self.retry_after = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._bounded = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        # "100 Continue" and the like stand before the answer.
        self._headed = self.status >= 200

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._held += len(body)
        if self._held > _HELD and not self._paused:
            self._paused = True
            self._connection.transport.pause_reading()

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self._whole = self._headed
        # Here alone: the parser forgets what an answer said of it.
        self._lasting = self._whole and self._parser.should_keep_alive()

    def _break(self, reason: str) -> None:
        self._whole = self._lasting = False
        self._broken = reason
        self._connection.transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
