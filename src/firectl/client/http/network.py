"""Connections with a time limit for the whole answer, and a way to end all of them from another thread.

httpx limits only each single read, so a server that sends one byte now and then would never time out. Must not depend
on HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import httpcore


class _Limit:
    """A limit of `seconds` for all reads together. The time starts at the first read after the last write."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end: float | None = None


_LIMIT: ContextVar[_Limit | None] = ContextVar("limit", default=None)


@contextlib.contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Raise httpx.ReadTimeout when this thread reads one answer for longer than `seconds`.

    The time for sending does not count, because a large body may need long.
    """
    token = _LIMIT.set(_Limit(seconds))
    try:
        yield
    finally:
        _LIMIT.reset(token)


class Network(httpcore.NetworkBackend):
    """Make connections that obey `answered_within` and that `abort` can end."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self._lock = threading.Lock()
        self._streams: WeakSet[_Stream] = WeakSet()
        self._aborted = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        stream = _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options), self)
        self.watch(stream)
        return stream

    def watch(self, stream: _Stream) -> None:
        """Register `stream` so that `abort` ends it. After an abort, close it and raise ConnectError."""
        with self._lock:
            if not self._aborted:
                self._streams.add(stream)
                return
        stream.close()
        raise httpcore.ConnectError("aborted")

    def abort(self) -> None:
        """End all connections, also those made later. Waiting threads get a transport error."""
        with self._lock:
            self._aborted = True
            streams = list(self._streams)
        for stream in streams:
            with contextlib.suppress(OSError):
                # Shut down, not closed: its own thread closes it. Not the TLS socket's method, which would drop the
                # encryption before the connection.
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, network: Network) -> None:
        self._inner = inner
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        limit = _LIMIT.get()
        if limit is None:
            return self._inner.read(max_bytes, timeout)
        now = time.monotonic()
        if limit.end is None:
            limit.end = now + limit.seconds
        left = limit.end - now
        if left <= 0:
            raise httpcore.ReadTimeout("the answer took too long")
        return self._inner.read(max_bytes, left if timeout is None else min(timeout, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        limit = _LIMIT.get()
        if limit is not None:
            limit.end = None
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._inner = self._inner.start_tls(ssl_context, server_hostname, timeout)
        # An abort during the handshake cannot reach the socket.
        self._network.watch(self)
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
