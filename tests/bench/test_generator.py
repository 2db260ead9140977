"""What is sent, when and how often, and what each answer comes to: real sockets, and a server that misbehaves."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from firectl.bench import BenchTarget, Endpoint, Generator, Load, Mix, fixed, measure, report_of
from firectl.bench.samples import ERRORS
from tests.bench.model_server import PROMPT_TOKENS, TOKENS, reply, target
from tests.client.script_server import Received, Reply, ScriptServer

LOAD = Load(requests=12, concurrency=(3,), warmup=0, timeout=0.3, seed=1)


def models(server: ScriptServer) -> list[str]:
    return [request.json["model"] for request in server.received]


def test_whole_answers_add_up(server: ScriptServer) -> None:
    figures = measure([target(server, "good")], LOAD).results[0].figures
    assert (figures.requests, figures.succeeded, figures.errors) == (12, 12, ())
    assert figures.prompt_tokens == 12 * PROMPT_TOKENS
    assert figures.generated_tokens == 12 * TOKENS
    assert figures.qps * figures.seconds == pytest.approx(12)
    assert figures.generated_tokens_per_second * figures.seconds == pytest.approx(12 * TOKENS)
    first, between, whole = figures.time_to_first_token, figures.inter_token_latency, figures.end_to_end_latency
    assert first is not None
    assert between is not None
    assert whole is not None
    assert (first.count, between.count, whole.count) == (12, 12 * (TOKENS - 1), 12)
    for spread in (first, between, whole):
        assert 0 <= spread.p50 <= spread.p90 <= spread.p95 <= spread.p99 <= spread.max
    assert first.max <= whole.max


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


def test_answers_that_are_not_streamed_have_no_first_token(server: ScriptServer) -> None:
    load = replace(LOAD, stream=False, chat=False, temperature=None)
    figures = measure([target(server, "whole")], load).results[0].figures
    assert (figures.succeeded, figures.time_to_first_token, figures.inter_token_latency) == (12, None, None)
    assert figures.generated_tokens == 12 * TOKENS
    assert server.received[0].path == "/inference/v1/completions"
    assert set(server.received[0].json) == {"model", "max_tokens", "stream", "prompt"}


@pytest.mark.parametrize(
    ("model", "kind", "says"),
    [
        ("http_429", "http_429", "the queue is full"),
        ("http_503", "http_503", "no replica"),
        ("connection", "connection", "the connection was"),
        ("timeout", "timeout", "0.3 s"),
        ("cut_short", "cut_short", "the connection was closed"),
        ("unended", "cut_short", "[DONE]"),
        ("stream_error", "stream_error", "the replica ended"),
        ("wrong_answer", "wrong_answer", "<html>"),
        ("garbage", "wrong_answer", "{nonsense"),
    ],
)
def test_an_error_is_counted_by_its_kind_with_what_was_said(
    server: ScriptServer, model: str, kind: str, says: str
) -> None:
    report = measure([target(server, "good", model, name="both")], replace(LOAD, concurrency=(2,)))
    figures = report.results[0].figures
    assert (figures.requests, figures.succeeded, figures.errors) == (12, 6, ((kind, 6),))
    assert says in report.errors[kind]
    assert kind in ERRORS or kind == "http_503"
    assert figures.generated_tokens == 6 * TOKENS, "an answer that broke off counts for nothing"
    assert len(server.received) == 12, "nothing is sent again"
    by_route = dict(report.results[0].by_route)
    assert (by_route["good"].failed, by_route[model].succeeded) == (0, 0)


def test_nobody_there_is_an_error_of_the_connection_and_the_run_is_given_up() -> None:
    nobody = BenchTarget("nobody", ("m",), Endpoint("http://127.0.0.1:9/v1"))
    report = measure([nobody], replace(LOAD, requests=1000))
    assert report.results[0].figures.errors[0][0] == "connection"
    assert report.requests < 40
    assert report.gave_up is not None
    assert "was answered" in report.gave_up


def test_an_answer_that_does_not_count_its_tokens_is_in_no_figure_of_tokens(server: ScriptServer) -> None:
    figures = measure([target(server, "no usage")], LOAD).results[0].figures
    assert (figures.succeeded, figures.without_usage, figures.generated_tokens) == (12, 12, 0)


def test_a_server_that_closes_after_each_answer_costs_no_request(server: ScriptServer) -> None:
    patient = replace(LOAD, timeout=10)
    assert measure([target(server, "closing")], patient).results[0].figures.succeeded == 12
    assert len(server.connections) == 12


def test_connections_are_kept(server: ScriptServer) -> None:
    measure([target(server, "good")], LOAD)
    assert len(server.connections) <= 3


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
