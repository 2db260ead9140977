"""One server for each test, ended with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.model_server import reply
from tests.client.script_server import ScriptServer


@pytest.fixture
def server() -> Iterator[ScriptServer]:
    server = ScriptServer(reply)
    yield server
    server.close()
