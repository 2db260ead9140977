"""Clients and servers for the client's tests: nothing comes from the developer's own settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firectl import Client
from tests.client.clock import Clock
from tests.client.script_server import KEY, Reply, Script, ScriptServer
from tests.client.storage import Storage


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FIREWORKS_API_KEY", "FIREWORKS_ACCOUNT_ID", "FIREWORKS_BASE_URL", "FIREWORKS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FIREWORKS_HOME", str(tmp_path / "fireworks-home"))


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptServer]]:
    """Starts a server that answers with the replies in turn (the last one again and again), or by a function."""
    servers = []

    def start(first: Reply | Script, *more: Reply) -> ScriptServer:
        if not isinstance(first, Reply):
            server = ScriptServer(first)
        else:
            left = [first, *more]
            server = ScriptServer(lambda _: left.pop(0) if len(left) > 1 else left[0])
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Makes a client that retries without waiting; `client.slept` are the seconds it would have waited."""
    clients = []

    def make(url: str, **options: Any) -> Client:
        slept: list[float] = []
        defaults: dict[str, Any] = {"api_key": KEY, "account_id": "acme", "sleep": slept.append, "random": lambda: 0.0}
        client = Client(base_url=url, **{**defaults, **options})
        client.slept = slept  # type: ignore[attr-defined]
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(serve: Callable[..., ScriptServer]) -> Storage:
    """Storage that says nothing of what it has."""
    made = Storage()
    made.url = serve(made).url
    return made


@pytest.fixture
def client(storage: Storage, connect: Callable[..., Client]) -> Client:
    return connect(storage.url)
