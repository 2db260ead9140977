"""Metrics of deployments (`client/metrics.py`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from firectl import Client
from firectl.errors import NetworkError
from tests.client.script_server import ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]


def test_a_question_travels_with_its_times_and_its_interval(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {}))
    metrics = connect(server.url).metrics
    start = datetime(2024, 5, 1, 12, tzinfo=UTC)
    metrics.deployments("tokens-per-second", group_by="model", start=start, interval=timedelta(minutes=5))
    metrics.deployments("errors-per-second")
    full, bare = (urlsplit(request.path) for request in server.received)
    assert full.path == "/v1/accounts/acme/deploymentMetrics"
    assert parse_qs(full.query) == {
        "metric": ["tokens-per-second"],
        "groupBy": ["model"],
        "start": ["2024-05-01T12:00:00Z"],
        "interval": ["300s"],
    }
    assert parse_qs(bare.query) == {"metric": ["errors-per-second"]}


def test_an_answer_of_another_form_is_unexpected(serve: Serve, connect: Connect) -> None:
    with pytest.raises(NetworkError, match="unexpected answer to /v1/accounts/acme/deploymentMetrics: "):
        connect(serve(answer(200, {"series": "many"})).url).metrics.deployments("tokens-per-second")
