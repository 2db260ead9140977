"""What an answer comes to: whole, streamed, broken (`bench/answer.py`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firectl.bench import Load, measure
from firectl.bench.answer import StreamedAnswer
from firectl.bench.samples import ERRORS, Sample
from tests.bench.model_server import TOKENS, event, piece, target
from tests.client.script_server import ScriptServer

LOAD = Load(requests=12, concurrency=(3,), warmup=0, timeout=0.3, seed=1)


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


def test_an_answer_that_does_not_count_its_tokens_is_in_no_figure_of_tokens(server: ScriptServer) -> None:
    figures = measure([target(server, "no usage")], LOAD).results[0].figures
    assert (figures.succeeded, figures.without_usage, figures.generated_tokens) == (12, 12, 0)


def read(*pieces: bytes, status: int = 200, stream: bool = True) -> Sample:
    """The sample of an answer whose pieces arrive a second apart."""
    answer = StreamedAnswer(Sample("r", 0.0), stream=stream)
    answer.head(status)
    for second, data in enumerate(pieces, 1):
        answer.data(data, float(second))
    answer.end()
    return answer.sample


def test_a_piece_is_timed_where_its_text_arrives_wherever_the_bytes_are_cut() -> None:
    role, text = piece("").encode(), piece("x").encode()
    sample = read(role, text[:10], text[10:] + text, b"data: [DONE]\n\n")
    assert (sample.error, list(sample.arrivals)) == (None, [3.0, 3.0])


@pytest.mark.parametrize(
    ("choice", "has_text"),
    [
        ({"delta": {"content": "x"}}, True),
        ({"delta": {"reasoning_content": "x"}}, True),
        ({"delta": {"tool_calls": [{}]}}, True),
        ({"text": "x"}, True),
        ({"delta": {"role": "assistant"}}, False),
        ({"delta": {}, "finish_reason": "stop"}, False),
    ],
)
def test_only_a_piece_with_text_counts_as_one(choice: dict[str, object], has_text: bool) -> None:
    assert bool(read(event({"choices": [choice]}).encode(), b"data: [DONE]\n\n").arrivals) is has_text


@pytest.mark.parametrize(
    ("pieces", "status", "stream", "kind", "message"),
    [
        ([b"{}"], 200, False, "wrong_answer", "expected an answer with choices, got {}"),
        ([b"data: {}\n\n"], 200, True, "wrong_answer", "expected an event with choices, got {}"),
        ([b"data: 7\n\n"], 200, True, "wrong_answer", "expected an event with a JSON object, got 7"),
        ([b"hello"], 200, True, "wrong_answer", "expected a stream of events, got hello"),
        ([], 200, True, "cut_short", "the stream ended without [DONE]"),
        ([b""], 502, True, "http_502", "nothing"),
        ([b"x" * 500], 500, True, "http_500", "x" * 200),
        ([b"x" * (40 << 20)] * 2, 200, False, "wrong_answer", "expected at most 64 MiB, got more"),
    ],
)
def test_what_is_not_an_answer_says_what_came(
    pieces: list[bytes], status: int, stream: bool, kind: str, message: str
) -> None:
    sample = read(*pieces, status=status, stream=stream)
    assert (sample.error, sample.message) == (kind, message)
