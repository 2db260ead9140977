"""httpx as this project uses it: imported without its command line, and the right way to each host.

Knows neither the API nor the key; nothing sent from here carries one.
"""

from __future__ import annotations

import ssl
import sys
import threading

if "httpx" not in sys.modules:
    # httpx does without `httpx._main` where click is not installed. It is its command line, and brings click, pygments
    # and rich: 70 ms.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    try:
        import httpx
    finally:
        del sys.modules["httpx._main"]
import httpx

from firectl import config
from firectl._version import __version__
from firectl.client.http.deadline import DeadlineBackend

__all__ = ["Connections", "host_of", "httpx", "is_loopback", "timeouts"]

CONNECT_SECONDS = 10.0
HEADERS = {"User-Agent": f"firectl/{__version__}"}


def timeouts(seconds: float) -> httpx.Timeout:
    """Limits for one try: `seconds` for each read and write, less for making the connection."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def is_loopback(url: httpx.URL) -> bool:
    """Whether a URL leads to this machine."""
    return config.is_loopback(f"[{url.host}]" if ":" in url.host else url.host)


def host_of(url: httpx.URL) -> str:
    """What may be shown of a URL: scheme, host and port, without path, query or password."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}:{url.port}" if url.port else f"{url.scheme}://{host}"


class Connections:
    """httpx clients by the way they reach a host, made on first use, safe to share between threads.

    http://   straight, never through a proxy, and without the TLS context that costs 20 ms and more
    https://  to this machine straight, elsewhere by the proxies of the environment
    Redirects are never followed: they would carry the key, or a file, to somewhere nobody named.
    """

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._transport = transport
        self._clients: dict[str, httpx.Client] = {}
        self._lock = threading.Lock()

    def apart(self) -> Connections:
        """Others that go the same ways."""
        return Connections(self._transport)

    def to(self, url: httpx.URL) -> httpx.Client:
        if self._transport is not None:
            way = "given"
        elif url.scheme == "http":
            way = "plain"
        else:
            way = "direct" if is_loopback(url) else "environment"
        with self._lock:
            if way not in self._clients:
                client = self._clients[way] = self._make(way)
                if way != "given":
                    _keep_to_deadlines(client)
            return self._clients[way]

    def _make(self, way: str) -> httpx.Client:
        if way == "given":
            return httpx.Client(transport=self._transport, headers=HEADERS)
        if way == "plain":
            trusts_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            transport = httpx.HTTPTransport(verify=trusts_nobody)
            return httpx.Client(transport=transport, headers=HEADERS)
        if way == "direct":
            return httpx.Client(transport=httpx.HTTPTransport(), headers=HEADERS)
        return httpx.Client(headers=HEADERS)

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _keep_to_deadlines(client: httpx.Client) -> None:
    """httpx lets nobody choose how its connections read: its pools are told so themselves."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = DeadlineBackend()
