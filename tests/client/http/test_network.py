"""The time limit of a whole answer, and connections that are ended from outside (`client/http/network.py`)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import pytest

from firectl import Client
from firectl.client.http.connections import Connections, httpx
from firectl.errors import ApiError, NetworkError
from tests.client.script_server import HANG, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]
MODEL = {"name": "accounts/acme/models/m", "state": "READY"}


def fails(client: Client) -> ApiError:
    with pytest.raises(ApiError) as caught:
        client.models.get("m")
    return caught.value


@pytest.mark.parametrize("from_head", [False, True], ids=["body", "head"])
def test_an_answer_that_drips_ends_at_the_time_limit_too(serve: Serve, connect: Connect, from_head: bool) -> None:
    server = serve(Reply(answer(200, MODEL).raw, drip=0.1, from_head=from_head))
    client = connect(server.url, timeout=0.3, max_retries=0)
    started = time.monotonic()
    error = fails(client)
    assert 0.3 <= time.monotonic() - started < 1
    assert error.message == f"{server.url} did not answer GET /v1/accounts/acme/models/m within 0.3 s"


def test_the_head_of_a_streamed_answer_has_the_time_limit_and_its_body_has_it_for_each_piece(
    serve: Serve, connect: Connect
) -> None:
    whole = answer(200, b"x" * 5)
    client = connect(serve(Reply(whole.raw, drip=0.1)).url, timeout=0.3, max_retries=0)
    with client.stream("/v1/x", {}) as incoming:
        assert b"".join(incoming.chunks()) == b"xxxxx"
    client = connect(serve(Reply(whole.raw, drip=0.1, from_head=True)).url, timeout=0.3, max_retries=0)
    with pytest.raises(NetworkError, match=r"did not answer POST /v1/x within 0\.3 s"):
        client.stream("/v1/x", {})


def test_an_abort_wakes_a_thread_that_waits_for_a_server_and_refuses_new_connections(serve: Serve) -> None:
    server = serve(HANG)
    connections = Connections()
    client = connections.to(httpx.URL(server.url))
    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            client.get(server.url, timeout=60)
        except httpx.TransportError as error:
            errors.put(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    server.until(lambda received: len(received) == 1)
    connections.abort()
    assert isinstance(errors.get(timeout=10), httpx.TransportError)
    waiting.join(10)
    with pytest.raises(httpx.ConnectError, match="aborted"):
        client.get(server.url)
    connections.close()
