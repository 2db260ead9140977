"""How does a large body come in? From the socket into two buffers in turn, past the server's parser.

uvicorn takes 256 KiB at a time, stops and starts the reading for each, and copies each three times: more work than
writing it. Knows neither files nor what the bytes are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PIECE = 1 << 20
"""Bytes of a piece, as they are handed on. A body that is read this way holds two: one that comes, one in use."""
_EXTENSION = "firectl.connection"
_KEPT_BUFFERS = 16


class Protocol(HttpToolsProtocol):
    """uvicorn's, with which a door finds the connection of its request."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"protocol": self}}


class IncomingBody:
    """The body of a request, to be read once, then closed, as long as its answer has not begun."""

    def __init__(self, request: Request) -> None:
        self._request = request
        length = request.headers.get("content-length", "")
        self._left = int(length) if length.isdecimal() else 0
        self._direct: _Direct | None = None
        self._ended = False

    async def pieces(self) -> AsyncGenerator[bytes | memoryview]:
        """Pieces of about a MiB. One is free to be overwritten once the next is asked for; the next comes meanwhile.

        ClientDisconnect when it breaks off, after all that came.
        """
        if self._direct is None and not self._ended:
            async with aclosing(self._parsed()) as pieces:
                async for piece in pieces:
                    yield piece
        while self._direct is not None and (found := await self._direct.next()):
            yield found

    async def _parsed(self) -> AsyncGenerator[bytes]:
        """What comes by way of the parser: all of a small body, what came with the headers of a large one."""
        held: list[bytes] = []
        size = 0
        broken: ClientDisconnect | None = None
        async with aclosing(self._request.stream()) as chunks:
            while self._direct is None and not self._ended:
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    self._ended = True
                except ClientDisconnect as error:
                    self._ended, broken = True, error
                else:
                    held.append(chunk)
                    size += len(chunk)
                    self._left -= len(chunk)
                    self._direct = self._take()
                if held and (size >= PIECE or self._ended or self._direct is not None):
                    yield b"".join(held)
                    held, size = [], 0
        if broken is not None:
            raise broken

    def _take(self) -> _Direct | None:
        """The rest of it, where there is enough and this is the server that can give the connection."""
        found = self._request.scope.get("extensions", {}).get(_EXTENSION)
        if found is None or self._left < PIECE:
            return None
        protocol: Protocol = found["protocol"]
        if protocol.cycle.scope is not self._request.scope or protocol.transport.is_closing():
            return None
        return _Direct(protocol, self._left)

    def close(self) -> None:
        """The connection is uvicorn's again; where it was taken, it ends with the answer."""
        self._ended = True
        if self._direct is not None:
            self._direct.close()


class _Direct(asyncio.BufferedProtocol):
    """Has the connection of a request until `left` more bytes are read. uvicorn closes it after the answer.

    Its parser, which never saw those bytes, is of no use any more.
    """

    def __init__(self, protocol: Protocol, left: int) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        protocol.cycle.keep_alive = False
        self._left = left
        self._event = asyncio.Event()
        self._filled: deque[memoryview] = deque()
        self._buffers = [_spare.pop() if _spare else bytearray(PIECE) for _ in range(2)]
        self._free = [memoryview(buffer) for buffer in self._buffers]
        self._filling: memoryview | None = self._free.pop()
        self._at = 0
        self._used: memoryview | None = None
        self._over = False
        self._closed = False
        self._transport.set_protocol(self)
        # uvicorn stops reading when the first bytes are many, until somebody asks it for more.
        protocol.flow.resume_reading()

    async def next(self) -> memoryview | None:
        """The next piece; None after the last. What was given before is overwritten."""
        if self._used is not None:
            self._free.append(memoryview(self._used.obj))
            self._used = None
            if self._filling is None and self._left:
                self._filling, self._at = self._free.pop(), 0
                self._transport.resume_reading()
        while not self._filled and self._left and not self._over:
            self._event.clear()
            await self._event.wait()
        if not self._filled and self._over and self._at:
            self._turn()
        if self._filled:
            self._used = self._filled.popleft()
            return self._used
        if self._left:
            raise ClientDisconnect
        return None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._transport.is_closing():
            self._transport.set_protocol(self._protocol)
            self._transport.resume_reading()
        if len(_spare) < _KEPT_BUFFERS:
            # Nobody writes into them now: the thread that had the last piece has returned, or its task would not be
            # here.
            _spare.extend(self._buffers)

    def _turn(self) -> None:
        assert self._filling is not None
        self._filled.append(self._filling[: self._at])
        self._filling, self._at = (self._free.pop() if self._free else None), 0
        if self._filling is None or not self._left:
            self._transport.pause_reading()
        self._event.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        assert self._filling is not None, "reading is paused meanwhile"
        return self._filling[self._at : self._at + self._left]

    def buffer_updated(self, nbytes: int) -> None:
        self._at += nbytes
        self._left -= nbytes
        if self._at == PIECE or not self._left:
            self._turn()

    def eof_received(self) -> None:
        self._over = True
        self._event.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._event.set()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


_spare: list[bytearray] = []
"""Buffers of bodies that are through: memory that is new to the process is slow to touch."""
