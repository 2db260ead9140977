"""What can come instead of an answer: the error, its exit code and its words (`client/http/failures.py`)."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable
from typing import Any

import pytest

from firectl import Client
from firectl.errors import ApiError, Code, Exit, NetworkError
from tests.client.script_server import CLOSE, HANG, KEY, RESET, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]
MODEL = {"name": "accounts/acme/models/m", "state": "READY"}


def fails(client: Client) -> ApiError:
    with pytest.raises(ApiError) as caught:
        client.models.get("m")
    return caught.value


def test_nothing_listens(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = connect(f"http://127.0.0.1:{port}")
    error = fails(client)
    assert isinstance(error, NetworkError)
    assert error.message == f"cannot reach http://127.0.0.1:{port}: connection refused"
    assert (error.exit_code, error.hint) == (Exit.RETRY_LATER, "firectl local up")
    assert client.slept == [0.5, 1.0]  # type: ignore[attr-defined]


def test_no_such_host(connect: Connect) -> None:
    error = fails(connect("https://no-such-host.invalid", max_retries=0))
    assert error.message == "cannot reach https://no-such-host.invalid: its name cannot be resolved"
    assert error.exit_code is Exit.RETRY_LATER


def test_the_certificate_or_the_protocol_is_wrong(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, MODEL))
    url = server.url.replace("http:", "https:")
    error = fails(connect(url, max_retries=0))
    assert error.message == f"cannot reach {url}: the TLS handshake failed"
    assert error.exit_code is Exit.RETRY_LATER


@pytest.mark.parametrize("end", [RESET, CLOSE])
def test_the_connection_ends_before_the_answer(serve: Serve, connect: Connect, end: Reply) -> None:
    server = serve(end)
    error = fails(connect(server.url))
    assert error.message == (
        f"{server.url} closed the connection before its answer to GET /v1/accounts/acme/models/m was complete"
    )
    assert (error.code, error.exit_code) == (Code.UNAVAILABLE, Exit.RETRY_LATER)
    assert len(server.received) == 3


@pytest.mark.parametrize("end", ["reset", "close"])
def test_the_connection_ends_within_the_answer(serve: Serve, connect: Connect, end: str) -> None:
    half = Reply(answer(200, MODEL).raw[:-10], end)
    server = serve(half)
    error = fails(connect(server.url))
    assert "closed the connection before its answer" in error.message
    assert error.exit_code is Exit.RETRY_LATER
    assert len(server.received) == 3


def test_a_half_answer_is_asked_for_again(serve: Serve, connect: Connect) -> None:
    server = serve(Reply(answer(200, MODEL).raw[:-10], "reset"), answer(200, MODEL))
    assert connect(server.url).models.get("m").state == "READY"


def test_the_server_hangs(serve: Serve, connect: Connect) -> None:
    server = serve(HANG)
    error = fails(connect(server.url, timeout=0.2))
    assert error.message == f"{server.url} did not answer GET /v1/accounts/acme/models/m within 0.2 s"
    assert (error.code, error.exit_code) == (Code.DEADLINE_EXCEEDED, Exit.RETRY_LATER)
    assert len(server.received) == 3


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (answer(200, b"<!DOCTYPE html><title>hi</title>"), "a web page"),
        (answer(200, b"hello", {"Content-Type": "text/html"}), "a web page"),
        (answer(200, b'<?xml version="1.0"?><Error/>'), "XML"),
        (answer(200, b""), "an empty body"),
        (answer(204, b""), "an empty body"),
        (answer(200, b'{"name": "accounts/ac'), "JSON that is cut short or broken"),
        (answer(200, b"hello"), "text that is not JSON"),
        (answer(200, b"\xff\xfe\x00"), "text that is not JSON"),
        (answer(200, b"[" * 100_000), "JSON that is cut short or broken"),
        (answer(200, []), "JSON that is an array, not an object"),
        (answer(200, b"null"), "JSON that is null, not an object"),
        (answer(200, 7), "JSON that is a number, not an object"),
        (answer(200, "x"), "JSON that is a string, not an object"),
        (
            answer(302, b"", {"Location": "https://login.test/a?token=x"}),
            "a redirect to https://login.test, which is not followed",
        ),
        (answer(307, b"", {"Location": "/v2/other"}), "a redirect to {url}, which is not followed"),
        (answer(304, b""), "a redirect to {url}, which is not followed"),
        (
            answer(200, b"not gzip", {"Content-Encoding": "gzip"}),
            "a body that cannot be decompressed or is too large",
        ),
    ],
)
def test_something_else_than_the_api_answers(serve: Serve, connect: Connect, reply: Reply, said: str) -> None:
    server = serve(reply)
    error = fails(connect(server.url))
    assert isinstance(error, NetworkError)
    assert error.message == (
        f"unexpected answer from {server.url} to GET /v1/accounts/acme/models/m: {said.format(url=server.url)}"
    )
    assert error.exit_code is Exit.FAILED
    assert len(server.received) == 1


def test_a_compressed_bomb_is_refused(serve: Serve, connect: Connect) -> None:
    bomb = gzip.compress(b"0" * (65 * 1024 * 1024))
    server = serve(answer(200, bomb, {"Content-Encoding": "gzip"}))
    assert fails(connect(server.url)).message.endswith("a body that cannot be decompressed or is too large")


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "tries"),
    [
        (400, Code.INVALID_ARGUMENT, Exit.INVALID, 1),
        (401, Code.UNAUTHENTICATED, Exit.DENIED, 1),
        (403, Code.PERMISSION_DENIED, Exit.DENIED, 1),
        (404, Code.NOT_FOUND, Exit.NOT_FOUND, 1),
        (405, Code.UNIMPLEMENTED, Exit.FAILED, 1),
        (408, Code.DEADLINE_EXCEEDED, Exit.RETRY_LATER, 3),
        (409, Code.ALREADY_EXISTS, Exit.CONFLICT, 1),
        (412, Code.FAILED_PRECONDITION, Exit.CONFLICT, 1),
        (418, Code.INVALID_ARGUMENT, Exit.INVALID, 1),
        (429, Code.RESOURCE_EXHAUSTED, Exit.RETRY_LATER, 3),
        (499, Code.CANCELLED, Exit.FAILED, 1),
        (500, Code.INTERNAL, Exit.FAILED, 3),
        (501, Code.UNIMPLEMENTED, Exit.FAILED, 1),
        (502, Code.UNAVAILABLE, Exit.RETRY_LATER, 3),
        (503, Code.UNAVAILABLE, Exit.RETRY_LATER, 3),
        (504, Code.DEADLINE_EXCEEDED, Exit.RETRY_LATER, 3),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>oops</html>", b'{"mess', b"{}", b"[]"])
def test_an_error_without_an_envelope_goes_by_its_status(
    serve: Serve, connect: Connect, status: int, code: Code, exit_code: Exit, tries: int, body: bytes
) -> None:
    server = serve(answer(status, body, {"x-request-id": "req-1"}))
    error = fails(connect(server.url))
    assert (error.code, error.exit_code, error.http_status, error.request_id) == (code, exit_code, status, "req-1")
    assert f"HTTP {status}" in error.message
    assert len(server.received) == tries


@pytest.mark.parametrize(
    "body",
    [
        {"code": 5, "message": "no such model", "details": []},
        {"error": {"code": "NOT_FOUND", "message": "no such model"}, "request_id": "req-2"},
        {"error": {"message": "no such model", "type": "invalid_request_error", "param": "model", "code": "NOT_FOUND"}},
    ],
)
def test_the_three_envelopes_say_the_same(serve: Serve, connect: Connect, body: dict[str, Any]) -> None:
    error = fails(connect(serve(answer(404, body)).url))
    assert (error.code, error.message, error.exit_code) == (Code.NOT_FOUND, "no such model", Exit.NOT_FOUND)
    assert error.request_id == body.get("request_id")


def test_a_key_that_the_server_repeats_is_cut_out(serve: Serve, connect: Connect) -> None:
    said = {"code": 16, "message": f"bad key {KEY}", "details": [{"reason": f"{KEY} is unknown"}]}
    error = fails(connect(serve(answer(401, said)).url))
    assert error.message == "bad key [key]"
    assert error.details == ({"reason": "[key] is unknown"},)
    assert KEY not in repr(error)


def test_unknown_fields_and_unknown_values_pass(serve: Serve, connect: Connect) -> None:
    body = {"name": "accounts/acme/models/m", "state": "HIBERNATING", "kind": "HF_NEW_KIND", "shiny": {"new": [1]}}
    model = connect(serve(answer(200, body)).url).models.get("m")
    assert (model.state, model.kind) == ("HIBERNATING", "HF_NEW_KIND")
