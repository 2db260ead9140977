"""More than 200 requests that are wrong, slow, too large or given up, to one real engine: a 4xx that names the field or
a clean close, and the engine serves on."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.engine.leaving import SLOTS, leaving
from tests.engine.process import EngineProcess
from tests.schemas.openai.bad_requests import BAD_CHAT, BAD_COMPLETION, BAD_IN_BOTH, USER

CHAT = {"model": "base", "messages": USER}
COMPLETION = {"model": "base", "prompt": "hi"}
LARGE = 50 << 20
HANDS = 16
"""Connections that are slow, or given up, at once: twice as many as the engine has slots."""

# What is no JSON text, and what the refusal says about it.
BODIES: list[tuple[bytes, str]] = [
    *((b'{"model": "base", "prompt": "' + bad + b'"}', "UTF-8") for bad in (
        b"\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80",
        b"ok\xffok", b"\xfe\xff\x00h\x00i",
    )),
    (b"\xff\xfe{\x00}\x00", "UTF-8"),
    *((bad, "JSON") for bad in (
        b"", b" ", b"{", b"}", b"null", b"[]", b"7",
        b'"hi"', b"true", b"{,}", b'{"model" "base"}', b"{'model': 'base'}",
        b'{"model": "base",}', b'{"model": "base"} {}', b'{"temperature": NaN}', b'{"temperature": -Infinity}',
        b'{"n": 0x10}', b'{"n": 01}', b'{"prompt": "a\nb"}', b"model=base&prompt=hi", b"<html></html>",
        b"\x00" * 64, b'{"n": ' + b"9" * 5000 + b"}",
    )),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"a":' * 50_000, "nested too deeply"),
    (rb'{"model": "base", "prompt": "\ud800"}', "surrogate"),
    (rb'{"model": "base", "prompt": "\udc00\ud800"}', "surrogate"),
]  # fmt: skip


def refused_fields() -> Iterator[tuple[str, dict[str, Any], str]]:
    """(path, body, the field that is wrong): each asked for whole and, where it makes no difference, as a stream."""
    chat = [*BAD_IN_BOTH, *BAD_CHAT]
    for path, good, cases in (("chat/completions", CHAT, chat), ("completions", COMPLETION, BAD_COMPLETION)):
        for fields, param in cases:
            yield path, good | fields, param
            if not fields.keys() & {"stream", "stream_options"}:
                yield path, good | fields | {"stream": True}, param


def test_more_than_two_hundred_wrong_requests_are_each_refused_by_name(engine: EngineProcess) -> None:
    count = 0
    for path, body, param in refused_fields():
        answer = engine.post(f"/v1/{path}", body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (body, answer.text)
        count += 1
    for raw, says in BODIES:
        answer = engine.http.post("/v1/completions", content=raw)
        assert answer.status_code == 400, (raw[:60], answer.text)
        assert says in answer.json()["error"]["message"], (raw[:60], answer.text)
        count += 1
    assert count >= 200
    assert engine.idle()
    assert engine.complete()["choices"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_fifty_megabytes_is_refused_or_cut_off_and_not_kept(engine: EngineProcess, chunked: bool) -> None:
    whole = json.dumps(COMPLETION | {"prompt": "x" * LARGE}).encode()
    pieces = (whole[start : start + (1 << 20)] for start in range(0, len(whole), 1 << 20))
    before = _resident(engine)
    try:
        answer = engine.http.post("/v1/completions", content=pieces if chunked else whole)
    except httpx.TransportError:
        pass  # it may hang up before all of it was sent
    else:
        assert answer.status_code == 413
        assert "larger than 16 MiB" in answer.json()["error"]["message"]
    assert _resident(engine) - before < 2 * (16 << 20)
    assert engine.complete()["choices"]


def test_clients_that_send_slowly_hold_nobody_up(engine: EngineProcess) -> None:
    body = json.dumps(COMPLETION | {"max_tokens": 1}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    hands = [_connect(engine) for _ in range(HANDS)]
    for number, hand in enumerate(hands):
        # Half of them stop in the middle of the head, the others in the middle of the body.
        hand.sendall(head[:40] if number % 2 else head + body[:10])
    assert engine.complete()["choices"]
    for number, hand in enumerate(hands[:4]):
        hand.sendall(head[40:] + body if number % 2 else body[10:])
        answer = b"".join(iter(lambda hand=hand: hand.recv(4096), b""))  # type: ignore[misc]
        assert answer.startswith(b"HTTP/1.1 200 OK")
    for hand in hands:
        hand.close()
    assert engine.complete()["choices"]


@pytest.mark.parametrize("how", ["closed", "reset", "not read"])
def test_clients_that_leave_in_the_middle_of_a_stream_free_their_slots(engine: EngineProcess, how: str) -> None:
    body = json.dumps(COMPLETION | {"max_tokens": 500, "ignore_eos": True, "stream": True}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with leaving(engine) as begun:
        hands = [_connect(engine) for _ in range(HANDS)]
        for hand in hands:
            hand.sendall(head + body)
            if how == "reset":
                hand.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for hand in hands[:4] if how != "not read" else ():
            assert hand.recv(16).startswith(b"HTTP/1.1 200 OK")
        # A stream that is not read yet would begin after all clients have left.
        engine.wait_for(lambda: engine.metric("vllm:num_requests_waiting") == HANDS - SLOTS)
        begun()
        for hand in hands:
            hand.close()


def _connect(engine: EngineProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", engine.port), timeout=30)


def _resident(engine: EngineProcess) -> int:
    """Bytes of memory that the engine holds."""
    import psutil

    return int(psutil.Process(engine.process.pid).memory_info().rss)
