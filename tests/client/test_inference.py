"""Chat and completions, whole and streamed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from firectl import Client
from firectl.client.inference import Completion, until_up
from firectl.errors import ApiError, Code, Exit, InputError, NetworkError
from tests.client.clock import Clock
from tests.client.script_server import Received, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]

ROUTE = "accounts/acme/models/m#accounts/acme/deployments/d"
MESSAGES = [{"role": "user", "content": "hi"}]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nx-request-id: r7\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def stream(*data: str, done: bool = True, end: str = "keep") -> Reply:
    lines = [*data, "[DONE]"] if done else data
    body = b"".join(chunked(f"data: {line}\n\n".encode()) for line in lines)
    return Reply(HEAD + body + (b"0\r\n\r\n" if end == "keep" else b""), end)


def piece(text: str, reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return json.dumps({"choices": [choice], "model": ROUTE, **more}, ensure_ascii=False)


def test_a_chat_is_answered_whole(serve: Serve, connect: Connect) -> None:
    body = {
        "choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
        "model": ROUTE,
    }
    server = serve(answer(200, body))
    got = connect(server.url).inference.chat(ROUTE, MESSAGES, max_tokens=8)
    assert (got.text, got.finish_reason, got.usage, got.model) == ("hello", "stop", {"total_tokens": 3}, ROUTE)
    assert got.raw == body
    assert server.received[0].path == "/inference/v1/chat/completions"
    assert server.received[0].json == {"model": ROUTE, "messages": MESSAGES, "max_tokens": 8}


def test_a_completion_is_answered_whole(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"choices": [{"text": " world", "finish_reason": "length"}]}))
    assert connect(server.url).inference.completions(ROUTE, "hello").text == " world"
    assert server.received[0].path == "/inference/v1/completions"


def test_an_answer_without_choices_is_unexpected(serve: Serve, connect: Connect) -> None:
    with pytest.raises(NetworkError, match="expected choices"):
        connect(serve(answer(200, {})).url).inference.completions(ROUTE, "hello")


@pytest.mark.parametrize(
    ("route", "sent"),
    [
        ("m#d", ROUTE),
        ("m", "accounts/acme/models/m"),
        ("other/m#acme/d", "accounts/other/models/m#accounts/acme/deployments/d"),
        ("accounts/acme/deployments/d", "accounts/acme/deployments/d"),
    ],
)
@pytest.mark.parametrize("account", ["acme", None])
def test_every_form_of_a_route_is_sent_in_full(
    serve: Serve, connect: Connect, route: str, sent: str, account: str | None
) -> None:
    def script(request: Received) -> Reply:
        if request.path == "/v1/accounts":
            return answer(200, {"accounts": [{"name": "accounts/acme"}]})
        return answer(200, {"choices": [{"text": request.json["model"]}]})

    server = serve(script)
    assert connect(server.url, account_id=account).inference.completions(route, "x").text == sent
    assert len(server.received) == (2 if account is None and "/" not in route else 1)


def test_a_route_that_is_none_is_refused_before_anything_is_sent(serve: Serve, connect: Connect) -> None:
    server = serve(answer(500))
    for account in ("acme", None):
        with pytest.raises(InputError):
            connect(server.url, account_id=account).inference.chat("m#d#e", MESSAGES)
    assert server.received == []


def test_a_stream_comes_piece_by_piece(serve: Serve, connect: Connect) -> None:
    usage = json.dumps({"choices": [], "usage": {"total_tokens": 3}})
    server = serve(stream(piece("Hel"), piece("lo \u2028"), piece("", "stop"), usage))
    with connect(server.url).inference.chat(ROUTE, MESSAGES, stream=True) as pieces:
        got = list(pieces)
    assert [one.text for one in got] == ["Hel", "lo \u2028", "", ""]
    assert [one.finish_reason for one in got] == [None, None, "stop", None]
    assert got[3].usage == {"total_tokens": 3}
    assert pieces.request_id == "r7"
    assert server.received[0].json["stream"] is True


def test_a_piece_is_there_before_the_next_is_sent(serve: Serve, connect: Connect) -> None:
    got_first = threading.Event()
    waited: list[bool] = []

    def rest() -> bytes:
        waited.append(got_first.wait(10))
        return stream(piece("b")).raw.removeprefix(HEAD)

    server = serve(Reply(HEAD + chunked(f"data: {piece('a')}\n\n".encode()), then=rest))
    with connect(server.url).inference.chat(ROUTE, MESSAGES, stream=True) as pieces:
        texts = iter(pieces)
        assert next(texts).text == "a"
        got_first.set()
        assert [one.text for one in texts] == ["b"]
    assert waited == [True]


def test_an_error_on_the_way_is_the_servers_error(serve: Serve, connect: Connect) -> None:
    said = {"error": {"message": "the engine died", "type": "server_error", "code": "UNAVAILABLE", "param": None}}
    pieces = connect(serve(stream(piece("a"), json.dumps(said))).url).inference.chat(ROUTE, MESSAGES, stream=True)
    got: list[str] = []
    with pytest.raises(ApiError) as caught:
        got.extend(one.text for one in pieces)
    assert (caught.value.code, caught.value.message) == (Code.UNAVAILABLE, "the engine died")
    assert (caught.value.exit_code, caught.value.request_id) == (Exit.RETRY_LATER, "r7")


@pytest.mark.parametrize(
    ("reply", "said", "exit_code"),
    [
        (stream(piece("a"), done=False), "the stream ended before the answer was complete", Exit.RETRY_LATER),
        (stream(piece("a"), done=False, end="reset"), "closed the connection before its answer", Exit.RETRY_LATER),
        (stream(piece("a"), done=False, end="close"), "closed the connection before its answer", Exit.RETRY_LATER),
        (stream(piece("a"), '{"choices": [', done=False), "an event that is not JSON", Exit.FAILED),
        (stream(piece("a"), "[]"), "an event that is not a JSON object", Exit.FAILED),
        (answer(200, b"<html>hi</html>"), "a body without events", Exit.FAILED),
        (answer(200, {"choices": []}), "a body without events", Exit.FAILED),
    ],
)
def test_a_stream_that_goes_wrong_never_looks_complete(
    serve: Serve, connect: Connect, reply: Reply, said: str, exit_code: Exit
) -> None:
    pieces = connect(serve(reply).url).inference.chat(ROUTE, MESSAGES, stream=True)
    with pytest.raises(NetworkError) as caught:
        list(pieces)
    assert said in caught.value.message
    assert caught.value.exit_code is exit_code


def test_a_stream_that_falls_silent_ends(serve: Serve, connect: Connect) -> None:
    pieces = connect(serve(stream(piece("a"), done=False, end="hang")).url, timeout=0.3).inference.chat(
        ROUTE, MESSAGES, stream=True
    )
    with pytest.raises(NetworkError, match="did not answer") as caught:
        list(pieces)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_a_stream_is_retried_only_before_its_first_byte(serve: Serve, connect: Connect) -> None:
    scaling = {"error": {"message": "starting", "type": "server_error", "code": "DEPLOYMENT_SCALING_UP"}}
    server = serve(answer(503, scaling), stream(piece("a")))
    pieces = connect(server.url).inference.chat(ROUTE, MESSAGES, stream=True)
    assert [one.text for one in pieces] == ["a"]
    with pytest.raises(ApiError) as caught:
        connect(serve(answer(503, scaling)).url).inference.chat(ROUTE, MESSAGES, stream=True)
    assert (caught.value.reason, caught.value.exit_code) == ("DEPLOYMENT_SCALING_UP", Exit.RETRY_LATER)


def test_leaving_a_stream_early_closes_its_connection(serve: Serve, connect: Connect) -> None:
    server = serve(stream(piece("a"), piece("b"), done=False, end="hang"))
    with connect(server.url).inference.chat(ROUTE, MESSAGES, stream=True) as pieces:
        assert next(iter(pieces)).text == "a"
    server.connections[0].settimeout(5)
    assert server.connections[0].recv(1) == b""


def test_what_can_be_asked_is_listed(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"object": "list", "data": [{"id": "accounts/acme/models/m"}]}))
    assert connect(server.url).inference.models() == ({"id": "accounts/acme/models/m"},)


def test_a_deployment_that_scales_up_is_waited_for_with_a_limit(serve: Serve, connect: Connect) -> None:
    clock = Clock()
    refused = [
        answer(503, {"error": {"message": "not up", "code": code}})
        for code in ("DEPLOYMENT_NOT_READY", "DEPLOYMENT_SCALING_UP", "DEPLOYMENT_SCALING_UP")
    ]
    up = answer(200, {"choices": [{"text": "hi"}]})
    waits: list[str | None] = []

    def ask(*replies: Reply) -> Completion:
        inference = connect(serve(*replies).url, max_retries=0).inference
        return until_up(
            lambda: inference.completions(ROUTE, "x"),
            20,
            on_wait=lambda error: waits.append(error.reason),
            clock=clock,
            sleep=clock.sleep,
            random=lambda: 0.0,
        )

    assert ask(*refused, up).text == "hi"
    assert waits == ["DEPLOYMENT_NOT_READY", "DEPLOYMENT_SCALING_UP", "DEPLOYMENT_SCALING_UP"]
    assert clock.now == 100 + 0.5 + 1 + 2
    clock.now = 0
    with pytest.raises(ApiError, match="not up") as caught:
        ask(*refused)
    assert caught.value.exit_code is Exit.RETRY_LATER
    assert clock.now == 20
    with pytest.raises(ApiError, match="draining"):
        ask(answer(503, {"error": {"message": "draining", "code": "UNAVAILABLE"}}))


def test_the_wait_for_a_deployment_has_the_only_say_about_its_next_try(serve: Serve, connect: Connect) -> None:
    """The sender's own retries would sleep as long as Retry-After says, beyond the time limit of the wait."""
    coming = {"error": {"message": "not up", "code": "DEPLOYMENT_SCALING_UP"}}
    refusal = answer(503, coming, {"Retry-After": "5"})
    busy = answer(429, {"error": {"message": "full", "code": "QUEUE_FULL"}}, {"Retry-After": "2"})
    server, clock = serve(refusal, busy, stream(piece("a"))), Clock()
    client = connect(server.url)
    pieces = until_up(
        lambda: client.inference.chat(ROUTE, MESSAGES, stream=True),
        20,
        clock=clock,
        sleep=clock.sleep,
        random=lambda: 0.0,
    )
    assert [one.text for one in pieces] == ["a"]
    assert clock.now == 100 + 0.5
    assert client.slept == [2]  # type: ignore[attr-defined]
    with pytest.raises(ApiError, match="not up"):
        until_up(
            lambda: connect(serve(refusal).url).inference.completions(ROUTE, "x"), 1, clock=clock, sleep=clock.sleep
        )
    assert clock.now == 100 + 0.5 + 1
