"""How does a request travel? HTTP/1.1 on kept connections, with little work for each piece of an answer.

Uses h11 on asyncio's transport: bytes are read and timed where they arrive, without waking a task. docs/bench.md has
the cost, compared with httpx. Never retries.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import h11

from firectl.bench.answer import StreamedAnswer
from firectl.bench.load import Endpoint
from firectl.bench.samples import CONNECTION, CUT_SHORT, WRONG_ANSWER

CONNECT_SECONDS = 10.0
READ = 16 << 10

now = time.perf_counter


class HttpConnection(asyncio.BufferedProtocol):
    """One HTTP connection. It sends one request at a time."""

    def __init__(self) -> None:
        self.is_free = False
        """Whether the connection can send another request: it is open, and its last answer was read to the end."""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        self._buffer = memoryview(bytearray(READ))
        self._transport: asyncio.Transport | None = None
        self._answer: StreamedAnswer | None = None
        self._ended: asyncio.Future[None] | None = None

    async def ask(
        self, path: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes, answer: StreamedAnswer
    ) -> None:
        """Send a POST, and return when the answer is complete or has failed. `answer.sample.error` tells which."""
        assert self._transport is not None
        assert self.is_free
        self.is_free = False
        self._answer = answer
        self._ended = asyncio.get_running_loop().create_future()
        length = (b"content-length", b"%d" % len(body))
        data = self._http.send(h11.Request(method=b"POST", target=path, headers=[*headers, length])) or b""
        data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._transport.write(data)
        await self._ended

    def close(self) -> None:
        self.is_free = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_free = True

    def get_buffer(self, sizehint: int) -> memoryview:
        # Use one buffer for all reads. asyncio would allocate 256 kB for each read, which takes longer than the read.
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._read(bytes(self._buffer[:nbytes]), now())

    def eof_received(self) -> None:
        # A body without a content length and without chunks ends here.
        self._read(b"", now())

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_free = False
        began = self._answer is not None and self._answer.status != 0
        reason = "the connection was reset" if exc is not None else "the connection was closed"
        self._end(now(), (CUT_SHORT if began else CONNECTION, reason))

    def _read(self, data: bytes, when: float) -> None:
        answer = self._answer
        if answer is None:
            # No request is open: these bytes could be mistaken for the next answer.
            self.close()
            return
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if type(event) is h11.Data:
                    answer.data(bytes(event.data), when)
                    if answer.sample.error is not None:
                        self._end(when, None)
                        self.close()
                        return
                elif type(event) is h11.Response:
                    answer.head(event.status_code)
                elif type(event) is h11.EndOfMessage:
                    self._again()
                    answer.end()
                    self._end(when, None)
                    return
                elif event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                elif type(event) is h11.ConnectionClosed:
                    self.close()
                    return
        except h11.RemoteProtocolError as error:
            if data == b"":
                self._end(when, (CUT_SHORT if answer.status else CONNECTION, "the connection was closed"))
            else:
                self._end(when, (WRONG_ANSWER, f"no HTTP: {error}"))
            self.close()

    def _again(self) -> None:
        """Make the connection free for the next request if both sides keep it open; otherwise close it."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.is_free = True
        else:
            self.close()

    def _end(self, when: float, failure: tuple[str, str] | None) -> None:
        if self._answer is None or self._ended is None:
            return
        if failure is not None:
            self._answer.fail(*failure)
        self._answer.sample.done = when
        self._answer = None
        if not self._ended.done():
            self._ended.set_result(None)


class ConnectionPool:
    """Keep and reuse the connections to one endpoint, one for each simultaneous request."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.base_url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self.path = parts.path.rstrip("/")
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._headers = [
            (b"host", (f"{host}:{parts.port}" if parts.port else host).encode()),
            (b"content-type", b"application/json"),
            (b"accept", b"*/*"),
            (b"user-agent", b"firectl-bench"),
        ]
        if endpoint.api_key:
            self._headers.append((b"authorization", f"Bearer {endpoint.api_key}".encode()))
        self._free: list[HttpConnection] = []
        self._all: set[HttpConnection] = set()

    async def ask(self, path: str, body: bytes, answer: StreamedAnswer) -> None:
        """Send one request on a free or new connection. Connecting counts as part of its time.

        Failures are recorded in the sample. Cancelling closes the connection.
        """
        sample = answer.sample
        sample.sent = now()
        try:
            connection = await self._take()
        except OSError as error:
            reason = (error.strerror or str(error) or type(error).__name__).lower()
            answer.fail(CONNECTION, f"no connection: {reason}")
            sample.done = now()
            return
        try:
            await connection.ask((self.path + path).encode(), self._headers, body, answer)
        except BaseException:
            connection.close()
            raise
        finally:
            self._give(connection)

    async def _take(self) -> HttpConnection:
        while self._free:
            connection = self._free.pop()
            if connection.is_free:
                return connection
            self._all.discard(connection)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(HttpConnection, self._host, self._port, ssl=self._tls)
        self._all.add(connection)
        return connection

    def _give(self, connection: HttpConnection) -> None:
        if connection.is_free:
            self._free.append(connection)
        else:
            self._all.discard(connection)

    def close(self) -> None:
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._free.clear()
