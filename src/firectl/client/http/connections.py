"""How is httpx used here? Imported without its command line, with the right route to each host.

Must not depend on the API or the key.
"""

from __future__ import annotations

import ssl
import sys
import threading

if "httpx" not in sys.modules:
    # `httpx._main` is httpx's command line. It imports click, pygments and rich (70 ms), and httpx works without it.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    try:
        import httpx
    finally:
        del sys.modules["httpx._main"]
import httpx

from firectl import config
from firectl._version import __version__
from firectl.client.http.network import Network

__all__ = ["Connections", "host_of", "httpx", "is_loopback", "timeouts"]

CONNECT_SECONDS = 10.0
HEADERS = {"User-Agent": f"firectl/{__version__}"}


def timeouts(seconds: float) -> httpx.Timeout:
    """Return the limits of one attempt: `seconds` for each read and write, but at most 10 seconds to connect."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def is_loopback(url: httpx.URL) -> bool:
    """Whether a URL's host is this machine."""
    return config.is_loopback(f"[{url.host}]" if ":" in url.host else url.host)


def host_of(url: httpx.URL) -> str:
    """Return the part of a URL that is safe to show: scheme, host and port."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}:{url.port}" if url.port else f"{url.scheme}://{host}"


class Connections:
    """Create and keep one httpx client for each way to reach a host. Threads may share them.

    http://   direct, never through a proxy, without loading certificates (20 ms and more)
    https://  direct to this machine, otherwise through the proxies of the environment
    Redirects are not followed: they could carry the key or a file to another host.
    """

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._transport = transport
        self._network = Network()
        self._clients: dict[str, httpx.Client] = {}
        self._lock = threading.Lock()

    def copy(self) -> Connections:
        """Return a new object with the same transport and no open connections."""
        return Connections(self._transport)

    def to(self, url: httpx.URL) -> httpx.Client:
        """Return the httpx client for a URL's host."""
        if self._transport is not None or url.scheme == "http":
            route = "plain"
        else:
            route = "direct" if is_loopback(url) else "environment"
        with self._lock:
            if route not in self._clients:
                self._clients[route] = self._make(route)
            return self._clients[route]

    def _make(self, route: str) -> httpx.Client:
        transport = self._transport
        if transport is None and route == "plain":
            transport = httpx.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        elif transport is None and route == "direct":
            transport = httpx.HTTPTransport()
        client = httpx.Client(transport=transport, headers=HEADERS)
        # httpx has no option for the network backend of a client.
        for made in (client._transport, *client._mounts.values()):
            if isinstance(made, httpx.HTTPTransport) and made is not self._transport:
                made._pool._network_backend = self._network
        return client

    def abort(self) -> None:
        """End all connections at once, and refuse new ones. Any thread may call this."""
        self._network.abort()

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
