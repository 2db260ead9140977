"""What is sent, when and how often: real sockets, and a server that misbehaves (`bench/generator.py`)."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from firectl.bench import Generator, Load, Mix, fixed, measure, report_of
from tests.bench.model_server import reply, target
from tests.client.script_server import Received, Reply, ScriptServer

LOAD = Load(requests=12, concurrency=(3,), warmup=0, timeout=0.3, seed=1)


def models(server: ScriptServer) -> list[str]:
    return [request.json["model"] for request in server.received]


def test_a_request_is_what_the_load_says(server: ScriptServer) -> None:
    measure([target(server, "good")], replace(LOAD, requests=1, prompt=fixed(40), max_tokens=fixed(9), ignore_eos=True))
    [request] = server.received
    assert (request.method, request.path) == ("POST", "/inference/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer key"
    body = request.json
    assert len(body["messages"][0].pop("content")) == 40
    assert body == {
        "model": "good",
        "max_tokens": 9,
        "messages": [{"role": "user"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "ignore_eos": True,
    }


def test_as_many_are_on_their_way_as_there_are_streams() -> None:
    together = threading.Barrier(4)
    lock = threading.Lock()
    now, most = 0, 0

    def script(request: Received) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(10)
        with lock:
            now -= 1
        return reply(request)

    server = ScriptServer(script)
    report = measure([target(server, "good")], replace(LOAD, concurrency=(4,), requests=12, timeout=20))
    server.close()
    assert (report.results[0].figures.succeeded, most) == (12, 4)


def test_targets_take_turns_and_every_other_round_goes_backwards(server: ScriptServer) -> None:
    load = replace(LOAD, concurrency=(1, 2), requests=6)
    report = measure([target(server, "good"), target(server, "other")], load)
    forward, backward = (["good", "good", "other", "other"] * 2, ["other", "other", "good", "good"] * 2)
    assert models(server) == forward + backward + forward
    assert [(result.target.name, result.level.concurrency) for result in report.results] == [
        ("good", 1),
        ("other", 1),
        ("good", 2),
        ("other", 2),
    ]
    first, second = report.of("good", concurrency=2), report.of("other", concurrency=2)
    assert second.relative["qps"] == pytest.approx(second.figures.qps / first.figures.qps)
    assert set(first.relative.values()) == {1.0}


def test_the_warm_up_is_sent_and_not_counted(server: ScriptServer) -> None:
    report = measure([target(server, "good")], replace(LOAD, warmup=None))
    assert (len(server.received), report.requests) == (12 + 3, 12)


def test_a_mix_is_sent_as_planned(server: ScriptServer) -> None:
    measure([target(server, "good", "closing", name="both", mix=Mix("zipf", 3))], replace(LOAD, concurrency=(1,)))
    assert models(server).count("good") > models(server).count("closing") > 0


def test_a_run_ends_with_its_time(server: ScriptServer) -> None:
    load = Load(seconds=0.5, concurrency=(2,), warmup=0, timeout=5)
    figures = measure([target(server, "good")], load).results[0].figures
    assert figures.failed == 0
    assert 0.5 <= figures.seconds < 5


def test_a_rate_is_kept_by_the_times_at_which_requests_were_sent(server: ScriptServer) -> None:
    run = Generator([target(server, "good")], replace(LOAD, rates=(100.0,), requests=80, timeout=10))
    asyncio.run(run.run())
    [round_] = run.cells[0].rounds
    sent = sorted(sample.sent for sample in round_.samples)
    assert len(sent) == 80
    assert 79 / (sent[-1] - sent[0]) == pytest.approx(100, rel=0.1)
    gaps = sorted(later - earlier for earlier, later in pairwise(sorted(sample.due for sample in round_.samples)))
    assert gaps == pytest.approx([0.01] * 79)
    figures = report_of(run).results[0].figures
    assert figures.send_lag is not None
    assert figures.seconds == pytest.approx(0.8, abs=0.3)


def test_a_rate_does_not_wait_for_answers_and_what_is_too_much_is_an_error(server: ScriptServer) -> None:
    load = replace(LOAD, rates=(100.0,), requests=40, max_in_flight=8, timeout=1.0)
    run = Generator([target(server, "good", "timeout", name="half", mix=Mix())], load)
    asyncio.run(run.run())
    [round_] = run.cells[0].rounds
    kinds = [sample.error for sample in round_.samples]
    assert kinds.count("timeout") == 8
    assert kinds.count("not_sent") > 0
    assert len(kinds) == 40


def test_a_run_that_is_cancelled_keeps_what_it_has(server: ScriptServer) -> None:
    run = Generator([target(server, "good", "timeout", name="half")], replace(LOAD, timeout=30, requests=1000))

    async def cancel() -> None:
        task = asyncio.create_task(run.run())
        async with asyncio.timeout(30):
            while run.cells[0].answered < 2 or models(server).count("timeout") < 3:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(cancel())
    result = report_of(run, interrupted=True).results[0]
    assert result.figures.succeeded >= 2
    assert result.unfinished == 3
    assert result.figures.seconds > 0
