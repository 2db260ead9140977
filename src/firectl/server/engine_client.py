"""How does the platform talk to an engine: one HTTP/1.1 exchange on a connection of its own, on loopback.

h11 keeps the protocol right; no pool, no TLS, no proxies: closing the connection is the cancel, and a front that adds
well under a millisecond is the point (httpx's per-chunk cost is several times that of h11 over asyncio streams).
Must not know deployments or retry anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import h11

_READ = 64 << 10
_LIMIT = 64 << 20


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


class Exchange:
    """A request that was sent and the answer as it comes in. Close it, whatever happened, to let the engine go."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.content_type = ""
        self.retry_after: str | None = None
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def _send(self, request: h11.Request, body: bytes) -> None:
        data = self._http.send(request) or b""
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(data)
        await self._writer.drain()
        head = await self._next()
        if not isinstance(head, h11.Response):
            raise EngineGone("the engine closed the connection")
        self.status = head.status_code
        for name, value in head.headers:
            if name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"retry-after":
                self.retry_after = value.decode("latin-1")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. EngineGone when it is cut short."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise EngineGone("the engine closed the connection in the middle of its answer")

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
        """Hang up; an answer that is still being made is given up by the engine."""
        self._writer.transport.abort()

    async def _next(self) -> h11.Event | type[h11.PAUSED] | type[h11.NEED_DATA]:
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(_READ))
                elif not isinstance(event, h11.InformationalResponse):
                    return event
        except (OSError, h11.RemoteProtocolError) as error:
            raise EngineGone(str(error) or type(error).__name__) from error


class EngineClient:
    """An engine at a port of this machine, asked with its own key."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self._headers = [
            ("host", f"127.0.0.1:{port}"),
            ("authorization", f"Bearer {key}"),
            ("content-type", "application/json"),
            ("connection", "close"),
        ]

    async def open(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Send a request and read the head of its answer. EngineGone when there is no engine to answer."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            raise EngineGone(str(error)) from error
        exchange = Exchange(reader, writer)
        try:
            fields = [*self._headers, ("content-length", str(len(body))), *(headers or {}).items()]
            await exchange._send(h11.Request(method=method, target=path, headers=fields), body)
        except OSError as error:
            exchange.close()
            raise EngineGone(str(error)) from error
        except BaseException:
            exchange.close()
            raise
        return exchange

    async def call(self, method: str, path: str, document: object = None, timeout: float = 30.0) -> Answer:
        """One whole exchange within `timeout` seconds. EngineGone or TimeoutError."""
        body = b"" if document is None else json.dumps(document).encode()
        async with asyncio.timeout(timeout):
            exchange = await self.open(method, path, body)
            with contextlib.closing(exchange):
                return await exchange.answer()

    async def healthy(self, timeout: float = 10.0) -> bool:
        """Whether the engine says that it can serve."""
        try:
            return (await self.call("GET", "/health", timeout=timeout)).status == 200
        except (EngineGone, TimeoutError):
            return False
