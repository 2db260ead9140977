"""`cli/bench/run.py`: the first request, errors and their exit code, and Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time

import pytest

from tests.bench.model_server import REPLIES
from tests.cli.bench.replies import FIRST, GOOD, PATH, ROUTE
from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import NOT_FOUND, Api
from tests.client.script_server import HANG, Reply, answer


def test_a_first_request_comes_before_the_load_and_is_marked_as_a_probe(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, GOOD)
    cli("bench", ROUTE, "--requests", "2", "--warmup", "0")
    assert [request.headers.get("x-firectl-probe") for request in api.changes] == ["1", None, None]
    assert {request.json["model"] for request in api.changes} == {ROUTE}


def test_prompts_in_tokens_are_sized_by_what_the_server_counts(cli: Cli, api: Api) -> None:
    def tokens(count: int) -> Reply:
        return answer(200, {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": count}})

    # A template of 10 tokens, and one token for every 4 characters.
    api.on("POST", PATH, tokens(11), tokens(25), tokens(125), GOOD)
    ran = cli("bench", ROUTE, "--requests", "1", "--warmup", "0", "--prompt-tokens", "60")
    assert ran.code == 0, ran
    assert len(api.changes[-1].json["messages"][0]["content"]) == (60 - 10) * 4


@pytest.mark.parametrize("kind", ["http_429", "http_503", "connection", "cut_short", "wrong_answer"])
def test_errors_are_shown_by_kind_and_too_many_are_exit_code_1(cli: Cli, api: Api, kind: str) -> None:
    api.on("POST", PATH, FIRST, GOOD, GOOD, GOOD, REPLIES[kind], GOOD)
    flags = ("bench", ROUTE, "--requests", "8", "--warmup", "0", "-o", "json")
    ran = cli(*flags)
    assert ran.code == 1
    assert ran.json["results"][0]["errors"] == {kind: 1}
    assert ran.json["error_examples"][kind]
    assert json.loads(ran.err.splitlines()[-1])["error"]["message"].startswith("1 of 8 requests failed")
    api.on("POST", PATH, FIRST, GOOD, GOOD, GOOD, REPLIES[kind], GOOD)
    allowed = cli(*flags[:-2], "--max-errors", "1")
    assert allowed.code == 0
    assert re.search(rf"^{kind} +1 ", allowed.out, re.MULTILINE)


def test_nothing_but_errors_is_given_up_and_exit_code_1(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, REPLIES["http_429"])
    ran = cli("bench", ROUTE, "--requests", "1000", "--max-errors", "100%", "--concurrency", "5")
    assert ran.code == 1
    assert "given up" in ran.err
    assert "http_429" in ran.out
    assert len(api.changes) < 30


def test_a_ctrl_c_before_the_load_has_begun_ends_it_without_a_complaint_of_pythons(
    cli: Cli, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("POST", PATH, FIRST)

    def interrupted(work: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run", interrupted)
    ran = cli("bench", ROUTE, "--requests", "3")
    assert ran.code == 130
    assert "Warning" not in ran.err


def test_a_route_that_is_not_there_is_exit_code_3_before_any_load(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, NOT_FOUND)
    ran = cli("bench", ROUTE)
    assert (ran.code, ran.out, len(api.changes)) == (3, "", 1)
    assert f"Hint: firectl route check '{ROUTE}' --live" in ran.err


def test_ctrl_c_prints_what_there_is(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, GOOD, GOOD, GOOD, HANG)
    process = cli.begin("bench", ROUTE, "--requests", "9", "--warmup", "0", "-o", "json")
    api.server.until(lambda _: len(api.changes) >= 5)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - started < 1
    document = json.loads(out)
    assert document["interrupted"] is True
    assert (document["results"][0]["succeeded"], document["results"][0]["unfinished"]) == (3, 1)
    assert json.loads(err.splitlines()[-1])["error"]["message"] == "interrupted"
    assert "Traceback" not in err
    assert KEY not in out + err
