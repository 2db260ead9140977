"""A server that answers as its `model` field says, the bad ways too: for load that must meet all of them."""

from __future__ import annotations

import json
from typing import Any

from firectl.bench import BenchTarget, Endpoint
from tests.client.script_server import HANG, RESET, Received, Reply, ScriptServer, answer

TOKENS = 5
PROMPT_TOKENS = 11
USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": TOKENS, "total_tokens": PROMPT_TOKENS + TOKENS}
EVENTS = {"Content-Type": "text/event-stream"}


def event(body: object) -> str:
    return f"data: {json.dumps(body)}\n\n"


def piece(text: str, usage: dict[str, int] | None = None) -> str:
    chunk: dict[str, Any] = {"choices": [{"index": 0, "delta": {"content": text}}]}
    return event(chunk | ({"usage": usage} if usage else {}))


WHOLE = piece("") + "".join(piece("x") for _ in range(TOKENS - 1)) + piece("x", USAGE)
GOOD = f"{WHOLE}data: [DONE]\n\n".encode()
FAILURE = event({"error": {"message": "the replica ended", "code": "UNAVAILABLE"}})


def stream(text: str, *, end: str = "keep") -> Reply:
    return answer(200, text.encode(), EVENTS, end=end)


def half() -> Reply:
    """A stream that breaks off: fewer bytes than were announced."""
    whole = stream(WHOLE)
    return Reply(whole.raw[:-100], end="close")


REPLIES = {
    "good": stream(GOOD.decode()),
    "closing": answer(200, GOOD, EVENTS | {"Connection": "close"}, end="close"),
    "other": stream(GOOD.decode()),
    "http_429": answer(429, {"error": {"message": "the queue is full", "code": "RESOURCE_EXHAUSTED"}}),
    "http_503": answer(503, {"error": {"message": "no replica", "code": "UNAVAILABLE"}}),
    "connection": RESET,
    "timeout": HANG,
    "cut_short": half(),
    "unended": stream(WHOLE),
    "stream_error": stream(piece("x") + FAILURE),
    "wrong_answer": answer(200, b"<html>welcome</html>", {"Content-Type": "text/html"}),
    "garbage": stream("data: {nonsense\n\n"),
    "no usage": stream(piece("x") * 3 + "data: [DONE]\n\n"),
    "whole": answer(200, {"choices": [{"message": {"content": "hi"}}], "usage": USAGE}),
}


def reply(request: Received) -> Reply:
    return REPLIES[request.json["model"]]


def target(server: ScriptServer, *routes: str, **fields: Any) -> BenchTarget:
    return BenchTarget(fields.pop("name", routes[0]), routes, Endpoint(f"{server.url}/inference/v1", "key"), **fields)
