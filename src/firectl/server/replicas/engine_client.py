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
"""How long an unused connection is kept: shorter than our engine keeps it. For other engines, see `open`."""
_AT_ONCE = 1.0
_LIMIT = 64 << 20


class EngineGone(Exception):
    """The engine did not answer completely, for example because it ended or does not listen yet."""


@dataclass(frozen=True)
class EngineAnswer:
    """The HTTP status and the complete body of an engine's answer."""

    status: int
    body: bytes

    def json(self) -> object:
        """Parse the body; None if it is not JSON."""
        try:
            value: object = json.loads(self.body)
        except ValueError:
            return None
        return value

    def error_message(self) -> str:
        """Return the error message in the body, or else one that names the HTTP status."""
        return message_of(self.json()) or f"the engine answered HTTP {self.status}"


class EngineExchange:
    """A request that was sent, and its answer as it arrives. The caller must call `close`.

    That returns the connection to the pool after a complete answer, and otherwise closes the connection.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.retry_after = response.headers.get("retry-after")
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the parts of the body as they arrive. Raises EngineGone if the body is cut short."""
        with _gone("in the middle of its answer: "):
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def answer(self) -> EngineAnswer:
        """Wait for the complete answer. Raises EngineGone if it is cut short or too large."""
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
    """An HTTP client of the engine at a local port. Close the client when the engine ended."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._pool = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS))
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        """The session for second tries, which opens a new connection for each request."""

    async def open(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> EngineExchange:
        """Send a request and read the status and headers of its answer. Raises EngineGone if none come.

        An engine may close a pooled connection just as a request is sent on it. If the connection closes at once
        without a byte of an answer, the engine did not read the request, so it is sent again on a new connection.
        """
        clock = asyncio.get_running_loop().time
        tried = _Try()
        sent = clock()
        with _gone():
            try:
                return await self._send(self._pool, method, path, body, headers, tried)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                # The message is not a string if aiohttp has read the beginning of an answer.
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
        """Send a request and return its answer. Raises EngineGone, or TimeoutError after `timeout` seconds."""
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
    """What aiohttp's trace reports about one try to send a request."""

    on_kept: bool = False
    """Whether the request was sent on a connection from the pool."""


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        # The engine sent data that no request asked for: this request would take the data as its answer.
        if conn.protocol is None or conn.protocol.should_close:
            raise aiohttp.ServerDisconnectedError
        return await super().send(conn)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """Make a session without aiohttp's defaults: environment, cookies, headers, decompression and timeouts are off."""
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
    """Turn aiohttp's errors in the block into EngineGone. `where` begins the message."""
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise EngineGone(f"{where}expected an HTTP answer: {error.message}") from error
    except aiohttp.ServerDisconnectedError as error:
        raise EngineGone(f"{where}the engine closed the connection") from error
    except aiohttp.ClientError as error:
        raise EngineGone(f"{where}{error or type(error).__name__}") from error
