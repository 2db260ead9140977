"""`cli/commands/talk/chat.py`: what is asked of which route, and how the answer is written."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import Reply, answer

PATH = "/inference/v1/chat/completions"
ROUTE = "accounts/acme/models/m#accounts/acme/deployments/d"
WHOLE = {"id": "c1", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "Ahoy"}}]}


def stream(*pieces: str, end: str = "data: [DONE]\n\n") -> Reply:
    events = "".join(
        f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': piece}}]})}\n\n" for piece in pieces
    )
    return answer(200, f"{events}{end}".encode(), {"Content-Type": "text/event-stream"})


def test_the_answer_is_written_as_it_comes_and_its_line_ended(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, stream("Ahoy", ", ", "mate"))
    ran = cli("chat", ROUTE, "Hello!", "--system", "Be brief.", "--temperature", "0", "--max-tokens", "9")
    assert (ran.code, ran.out, ran.err) == (0, "Ahoy, mate\n", "")
    assert api.changes[-1].json == {
        "model": ROUTE,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}],
        "temperature": 0.0,
        "max_tokens": 9,
        "stream": True,
    }


def test_json_is_the_raw_answer(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, WHOLE)
    ran = cli("chat", ROUTE, "Hello!", "-o", "json")
    assert (ran.code, ran.json, ran.err) == (0, WHOLE, "")
    assert api.changes[-1].json == {"model": ROUTE, "messages": [{"role": "user", "content": "Hello!"}]}


def test_a_short_route_is_completed_before_it_is_sent(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, stream("Ahoy\n"))
    ran = cli("chat", "m#d", "Hello!")
    assert (ran.code, ran.out, ran.err) == (0, "Ahoy\n", f"Route: {ROUTE}\n")
    assert api.changes[-1].json["model"] == ROUTE


def test_a_route_that_is_wrong_is_never_sent(cli: Cli, api: Api) -> None:
    ran = cli("chat", "m #d", "Hello!")
    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert ran.err.endswith(f"Hint: write {ROUTE}\n")
