"""How does the platform talk to an engine? HTTP/1.1 on loopback, over aiohttp's pool of kept connections.

Closing an exchange before its answer is complete closes the connection: that cancels the request in the engine.
Must not know deployments.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from firectl.errors import message_of

_KEPT_SECONDS = 60.0
"""Less than our engine keeps an idle connection. Other engines keep theirs shorter: see `open`."""
_AT_ONCE = 1.0
_LIMIT = 64 << 20


class EngineGone(Exception):
    """The connection was refused, reset or cut short: the engine ended, or does not listen yet."""


@dataclass(frozen=True)
class Answer:
    """A whole answer: `json()` is None where the body is not JSON."""

    status: int
    body: bytes

    def json(self) -> object:
        try:
            value: object = json.loads(self.body)
        except ValueError:
            return None
        return value

    def error_message(self) -> str:
        """The engine's error message."""
        return message_of(self.json()) or f"the engine answered HTTP {self.status}"


class Exchange:
    """A request that was sent, and its answer as it arrives. Always close it: a complete answer returns its connection
    to the pool, any other closes it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.retry_after = response.headers.get("retry-after")
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. EngineGone when it is cut short."""
        with _gone("in the middle of its answer: "):
            async for chunk in self._response.content.iter_any():
                yield chunk

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
        self._response.close()


class EngineClient:
    """An engine at a port of this machine, asked with its own key. Close it when the engine ended."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._pool = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS))
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        """For the second try: each request has a new connection."""

    async def open(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Send a request and read the head of its answer. EngineGone when no answer comes.

        An engine may close a kept connection just as a request is sent on it. If nothing came but that end, at once,
        the request was not read, and is sent again on a new connection.
        """
        clock = asyncio.get_running_loop().time
        tried = _Try()
        sent = clock()
        with _gone():
            try:
                return await self._send(self._pool, method, path, body, headers, tried)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                # aiohttp gives as the message what it read of a head, if it read any.
                begun = not isinstance(getattr(error, "message", ""), str)
                if not tried.on_kept or begun or clock() - sent > _AT_ONCE:
                    raise
            return await self._send(self._fresh, method, path, body, headers, tried)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None,
        tried: _Try,
    ) -> Exchange:
        response = await session.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            data=io.BytesIO(body),
            headers={**self._headers, **(headers or {})},
            allow_redirects=False,
            trace_request_ctx=tried,
        )
        return Exchange(response)

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

    async def close(self) -> None:
        """Close every connection, those in use too."""
        await self._pool.close()
        await self._fresh.close()


@dataclass
class _Try:
    """What aiohttp's trace tells of one try."""

    on_kept: bool = False
    """Whether it went out on a connection that served an earlier request."""


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        # The engine sent something that nobody asked for: this request would take it for its answer.
        if conn.protocol is None or conn.protocol.should_close:
            raise aiohttp.ServerDisconnectedError
        return await super().send(conn)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """aiohttp without what it adds by itself: environment, cookies, headers, decompression, time limits."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_on_kept)
    return aiohttp.ClientSession(
        connector=connector,
        request_class=_Request,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),
        trace_configs=[trace],
    )


async def _on_kept(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.on_kept = True


@contextlib.contextmanager
def _gone(where: str = "") -> Iterator[None]:
    """aiohttp's errors as EngineGone."""
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise EngineGone(f"{where}not an answer in HTTP: {error.message}") from error
    except aiohttp.ServerDisconnectedError as error:
        raise EngineGone(f"{where}the engine closed the connection") from error
    except aiohttp.ClientError as error:
        raise EngineGone(f"{where}{error or type(error).__name__}") from error
