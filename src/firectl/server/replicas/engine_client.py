"""How does the platform talk to an engine? HTTP/1.1 on loopback, over aiohttp's connection pool.

Closing an exchange before its answer is complete closes the connection, which cancels the request in the engine.
Must not use deployments.
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
"""Shorter than our engine's keep-alive timeout. Other engines may close earlier: see `open`."""
_AT_ONCE = 1.0
_LIMIT = 64 << 20


class EngineGone(Exception):
    """The connection was refused, reset or cut short: the engine ended or does not listen yet."""


@dataclass(frozen=True)
class EngineAnswer:
    """A complete answer."""

    status: int
    body: bytes

    def json(self) -> object:
        """The body; None if it is not JSON."""
        try:
            value: object = json.loads(self.body)
        except ValueError:
            return None
        return value

    def error_message(self) -> str:
        """The engine's error message."""
        return message_of(self.json()) or f"the engine answered HTTP {self.status}"


class EngineExchange:
    """A request that was sent, and its answer as it arrives. The caller closes it.

    After a complete answer the connection returns to the pool, otherwise it is closed.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.retry_after = response.headers.get("retry-after")
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. EngineGone if it is cut short."""
        with _gone("in the middle of its answer: "):
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def answer(self) -> EngineAnswer:
        """The complete answer."""
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            parts.append(part)
            size += len(part)
            if size > _LIMIT:
                raise EngineGone(f"the engine's answer is larger than {_LIMIT >> 20} MiB")
        return EngineAnswer(self.status, b"".join(parts))

    def close(self) -> None:
        self._response.close()


class EngineClient:
    """A client of the engine at a local port. Close it when the engine ended."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._pool = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS))
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        """For second tries: each request opens a new connection."""

    async def open(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> EngineExchange:
        """Send a request and read the head of its answer. EngineGone if there is none.

        An engine may close a pooled connection just as a request is sent on it. If it closes at once without a byte of
        an answer, it did not read the request, so the request is sent again on a new connection.
        """
        clock = asyncio.get_running_loop().time
        tried = _Try()
        sent = clock()
        with _gone():
            try:
                return await self._send(self._pool, method, path, body, headers, tried)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                # The message is not a string if aiohttp read a part of a head.
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
    ) -> EngineExchange:
        response = await session.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            data=io.BytesIO(body),
            headers={**self._headers, **(headers or {})},
            allow_redirects=False,
            trace_request_ctx=tried,
        )
        return EngineExchange(response)

    async def call(self, method: str, path: str, document: object = None, timeout: float = 30.0) -> EngineAnswer:
        """One complete exchange within `timeout` seconds. EngineGone or TimeoutError."""
        body = b"" if document is None else json.dumps(document).encode()
        async with asyncio.timeout(timeout):
            exchange = await self.open(method, path, body)
            with contextlib.closing(exchange):
                return await exchange.answer()

    async def healthy(self, timeout: float = 10.0) -> bool:
        """Whether the engine reports that it can serve."""
        try:
            return (await self.call("GET", "/health", timeout=timeout)).status == 200
        except (EngineGone, TimeoutError):
            return False

    async def close(self) -> None:
        """Close every connection, even those in use."""
        await self._pool.close()
        await self._fresh.close()


@dataclass
class _Try:
    """What aiohttp's trace reports about one try."""

    on_kept: bool = False
    """It was sent on a connection that had served another request."""


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        # The engine sent data without a request: this request would read it as its answer.
        if conn.protocol is None or conn.protocol.should_close:
            raise aiohttp.ServerDisconnectedError
        return await super().send(conn)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """An aiohttp session without its defaults: environment, cookies, headers, decompression, timeouts."""
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
    """Raise aiohttp's errors as EngineGone."""
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise EngineGone(f"{where}expected an HTTP answer: {error.message}") from error
    except aiohttp.ServerDisconnectedError as error:
        raise EngineGone(f"{where}the engine closed the connection") from error
    except aiohttp.ClientError as error:
        raise EngineGone(f"{where}{error or type(error).__name__}") from error
