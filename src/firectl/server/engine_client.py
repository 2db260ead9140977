"""How does the platform talk to an engine? HTTP/1.1 on loopback, over connections that are kept for the next request.

Closing a connection is the cancel: one is kept only when its answer was read to its end. No TLS, no proxies, no waiting
for a free one: a front that adds well under a millisecond is the point. Must not know deployments.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping

from firectl.server.engine_connection import Answer, Connection, EngineGone, Exchange

_KEPT = 64
_KEPT_SECONDS = 60.0
"""Less than our engine keeps one, so that a request seldom meets its end. Others keep theirs shorter: see `open`."""
_AT_ONCE = 1.0


class EngineClient:
    """An engine at a port of this machine, asked with its own key. Close it when the engine goes."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self._fields = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self._idle: list[Connection] = []
        self._closed = False

    async def open(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Send a request and read the head of its answer. EngineGone when there is no engine to answer.

        An engine may close a kept connection just as a request is sent on it: one of which nothing came but its end,
        at once, was not read, and is sent again on a new one.
        """
        fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"{method} {path} HTTP/1.1\r\n{self._fields}{fields}Content-Length: {len(body)}\r\n\r\n"
        request = head.encode("latin-1") + body
        clock = asyncio.get_running_loop().time
        kept = self._take(clock())
        if kept is not None:
            exchange = Exchange(kept, self._keep)
            sent = clock()
            try:
                return await _sent(exchange, request)
            except EngineGone:
                if exchange.begun or clock() - sent > _AT_ONCE:
                    raise
        return await _sent(Exchange(await self._connect(), self._keep), request)

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

    def close(self) -> None:
        """Hang up on connections that nobody uses; those in use go with their exchanges."""
        self._closed = True
        while self._idle:
            self._idle.pop().transport.abort()

    async def _connect(self) -> Connection:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: Connection(self._forget), "127.0.0.1", self.port)
        except OSError as error:
            raise EngineGone(str(error)) from error
        return connection

    def _take(self, now: float) -> Connection | None:
        """The connection used last, where there is one that was not left alone for long."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < _KEPT_SECONDS:
                return connection
            connection.transport.abort()
        return None

    def _keep(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= _KEPT or not connection.usable:
            connection.transport.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def _forget(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)


async def _sent(exchange: Exchange, request: bytes) -> Exchange:
    try:
        await exchange.send(request)
    except BaseException:
        exchange.close()
        raise
    return exchange
