"""How long may an answer take as a whole? httpx's limit is for each read: a server that drips would never reach it.

Streams over the ones that httpcore makes; they know nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import httpcore


class _Limit:
    """`seconds` from the first read after the last write, for all reads together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end: float | None = None


_LIMIT: ContextVar[_Limit | None] = ContextVar("limit", default=None)


@contextlib.contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """What this thread reads of an answer inside the block takes that long in all; httpx.ReadTimeout otherwise.

    What it sends does not count: a large body may take its time.
    """
    token = _LIMIT.set(_Limit(seconds))
    try:
        yield
    finally:
        _LIMIT.reset(token)


class DeadlineBackend(httpcore.NetworkBackend):
    """Makes connections that keep to `answered_within`."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

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
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
