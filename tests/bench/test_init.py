"""A whole run from Python (`bench/__init__.py`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firectl.bench import Load, measure
from tests.bench.model_server import PROMPT_TOKENS, TOKENS, target
from tests.client.script_server import ScriptServer

LOAD = Load(requests=12, concurrency=(3,), warmup=0, timeout=0.3, seed=1)


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


def test_answers_that_are_not_streamed_have_no_first_token(server: ScriptServer) -> None:
    load = replace(LOAD, stream=False, chat=False, temperature=None)
    figures = measure([target(server, "whole")], load).results[0].figures
    assert (figures.succeeded, figures.time_to_first_token, figures.inter_token_latency) == (12, None, None)
    assert figures.generated_tokens == 12 * TOKENS
    assert server.received[0].path == "/inference/v1/completions"
    assert set(server.received[0].json) == {"model", "max_tokens", "stream", "prompt"}
