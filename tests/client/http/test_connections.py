"""The route to each host: proxies, a given transport, closing (`client/http/connections.py`)."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from firectl import Client
from firectl.errors import NetworkError
from tests.client.script_server import ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]


def test_loopback_never_goes_through_a_proxy(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = serve(answer(200, {"name": "n"}))
    assert connect(server.url).models.get("m").name == "n"
    assert connect(server.url.replace("127.0.0.1", "localhost")).models.get("m").name == "n"
    with pytest.raises(NetworkError, match="the TLS handshake failed"):
        connect(server.url.replace("http:", "https:"), max_retries=0).models.get("m")


def test_https_elsewhere_goes_through_the_proxy_of_the_environment(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(answer(407, b""))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("https_proxy", proxy.url)
    with pytest.raises(NetworkError) as caught:
        connect("https://api.test", max_retries=0).models.get("m")
    assert caught.value.message == "cannot reach https://api.test: the proxy refused the connection"
    assert [(request.method, request.path) for request in proxy.received] == [("CONNECT", "api.test:443")]


def test_a_transport_may_be_given(connect: Connect) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"name": str(request.url)}))
    client = connect("https://api.test", transport=transport)
    assert client.models.get("m").name == "https://api.test/v1/accounts/acme/models/m"


def test_a_closed_client_opens_again(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"name": "n"}))
    with connect(server.url) as client:
        assert client.models.get("m").name == "n"
    assert client.models.get("m").name == "n"
