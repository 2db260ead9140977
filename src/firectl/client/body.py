"""How do the bytes of an answer come into a buffer? By httpx, or, where that is most of the work, from the socket.

Knows neither requests nor what the bytes are.
"""

from __future__ import annotations

import socket

from firectl.client.http import httpx

LARGE = 1024 * 1024
"""Bytes from which on a body is worth a connection of its own."""


class Body:
    """The body of an answer that is being streamed, to be read once. Errors are httpx's.

    A large one from a server without TLS goes from the socket into the caller's buffer and nowhere else: httpx reads
    64 KiB at a time and copies each four times, which costs more than sending, hashing and writing them. Its connection
    is spent then, as httpx does not see the body end, and is closed with the response.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.iter_bytes()
        self._held = memoryview(b"")
        self._socket = _plain_socket(response)
        self._left = int(response.headers["content-length"]) if self._socket is not None else 0
        if self._socket is not None:
            # Its limit was what was left for the head: from here on it is for each read, as httpx would have it.
            self._socket.settimeout(response.request.extensions["timeout"]["read"])
        self._begun = False

    def read_into(self, buffer: memoryview) -> int:
        """Put the next bytes into `buffer`, as many as are there; how many, 0 at the end."""
        if not self._held and (self._socket is None or not self._begun):
            # Also where the socket is read: the first bytes came with the headers, and all that did is in one chunk.
            self._begun = True
            self._held = memoryview(next(self._chunks, b""))
            self._left -= len(self._held)
        if self._held:
            got = min(len(self._held), len(buffer))
            buffer[:got] = self._held[:got]
            self._held = self._held[got:]
            return got
        return self._receive(self._socket, buffer) if self._socket is not None and self._left > 0 else 0

    def _receive(self, connection: socket.socket, buffer: memoryview) -> int:
        try:
            got = connection.recv_into(buffer, min(len(buffer), self._left))
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error), request=self._response.request) from error
        except OSError as error:
            raise httpx.ReadError(str(error), request=self._response.request) from error
        if got == 0:
            raise httpx.RemoteProtocolError("the body ended early", request=self._response.request)
        self._left -= got
        return got


def _plain_socket(response: httpx.Response) -> socket.socket | None:
    """The connection of an answer whose body stands in it as it is, if it is large."""
    length = response.headers.get("content-length", "")
    if not length.isdecimal() or int(length) < LARGE:
        return None
    if response.http_version != "HTTP/1.1" or {"content-encoding", "transfer-encoding"} & response.headers.keys():
        return None
    stream = response.extensions.get("network_stream")
    found = stream.get_extra_info("socket") if stream is not None else None
    # Exactly this class: a subclass encrypts.
    return found if type(found) is socket.socket else None
