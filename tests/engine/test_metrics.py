"""Metrics in Prometheus' text form: counted by adapter, and forgotten with it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from firectl.engine.metrics import EngineMetrics
from tests.engine.process import EngineProcess, read_metric


def test_values_are_counted_observed_and_watched() -> None:
    metrics, waiting = EngineMetrics("base"), [3.0]
    metrics.watch("firectl:things", "Things.", lambda: waiting[0])
    metrics.prompt_tokens.inc(5)
    metrics.first_token.observe(0.03)
    metrics.request("voice")
    page = metrics.page().decode()
    assert read_metric(page, "firectl:things") == 3
    assert read_metric(page, "vllm:prompt_tokens_total") == 5
    assert read_metric(page, "vllm:time_to_first_token_seconds_bucket", '{le="0.02",model_name="base"}') == 0
    assert read_metric(page, "vllm:time_to_first_token_seconds_bucket", '{le="0.04",model_name="base"}') == 1
    waiting[0] = 7
    assert read_metric(metrics.page().decode(), "firectl:things") == 7


def test_an_unloaded_adapter_leaves_the_page_and_begins_again_at_zero() -> None:
    metrics = EngineMetrics("base")
    metrics.forget("voice")  # no request named it
    metrics.request("voice")
    metrics.request("voice")
    metrics.forget("voice")
    assert b"voice" not in metrics.page()
    metrics.request("voice")
    assert read_metric(metrics.page().decode(), "firectl:requests_total", '{adapter="voice"}') == 1


def test_metrics_count_tokens_and_requests(engine: EngineProcess) -> None:
    before = [engine.metric("vllm:prompt_tokens_total"), engine.metric("vllm:generation_tokens_total")]
    requests = engine.metric("firectl:requests_total", '{adapter="base"}')
    engine.chat(max_tokens=5, ignore_eos=True)
    assert engine.metric("vllm:prompt_tokens_total") == before[0] + 8
    assert engine.metric("vllm:generation_tokens_total") == before[1] + 5
    assert engine.metric("firectl:requests_total", '{adapter="base"}') == requests + 1


def test_metrics_tell_adapters_apart_and_how_long_it_took(engine: EngineProcess, adapters: dict[str, Path]) -> None:
    times = [f"vllm:{name}_seconds" for name in ("time_to_first_token", "inter_token_latency", "e2e_request_latency")]

    def histograms() -> list[tuple[float, float]]:
        return [(engine.metric(f"{name}_count"), engine.metric(f"{name}_sum")) for name in times]

    before, base = histograms(), engine.metric("firectl:requests_total", '{adapter="base"}')
    with engine.loaded("guest", adapters["small"]):
        started = time.monotonic()
        for _ in range(2):
            engine.complete(model="guest", max_tokens=5, ignore_eos=True)
        passed = time.monotonic() - started
        assert engine.metric("firectl:requests_total", '{adapter="guest"}') == 2
        assert engine.metric("firectl:requests_total", '{adapter="base"}') == base
    counts, sums = zip(*((b[0] - a[0], b[1] - a[1]) for a, b in zip(before, histograms(), strict=True)), strict=True)
    assert counts == (2, 8, 2)
    first, between, whole = sums
    assert 0 < first < first + between == pytest.approx(whole, rel=0.01)
    assert whole < passed
