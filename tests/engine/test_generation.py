"""A request's sequences on the asyncio side: queued or refused, ended at their deadline, measured on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firectl.engine.engine import Engine, StepResult
from firectl.engine.generation import Dispatcher, Generation, QueueFull
from firectl.errors import ApiError
from firectl.schemas.openai import ParamError
from tests.engine.harness import Harness, metric
from tests.engine.process import EngineProcess
from tests.tiny import make_base


def with_dispatcher(
    harness: Harness, story: Callable[[Dispatcher, Engine], Coroutine[Any, Any, None]], **options: Any
) -> None:
    """Run a story on an event loop, with an engine that publishes to its dispatcher."""

    async def run() -> None:
        given = replace(harness.options, **options)
        dispatcher = Dispatcher(asyncio.get_running_loop(), given)
        harness.loaded.runner.forget()
        engine = Engine(harness.loaded, given, dispatcher.publish)
        engine.start()
        try:
            await story(dispatcher, engine)
        finally:
            await asyncio.to_thread(engine.stop)

    asyncio.run(run())


async def read_all(generation: Generation) -> list[StepResult]:
    async with generation:
        return [result async for result in generation]


def test_results_of_all_sequences_come_in_order_and_end_with_a_finish(harness: Harness) -> None:
    async def story(dispatcher: Dispatcher, engine: Engine) -> None:
        sequences = [harness.sequence("a", max_tokens=3), harness.sequence("b", max_tokens=5)]
        results = await read_all(dispatcher.start(engine, sequences))
        for sequence, count in zip(sequences, (3, 5), strict=True):
            own = [result.finish for result in results if result.sequence is sequence]
            assert own == [None] * (count - 1) + ["length"]
        assert metric(engine, "vllm:time_to_first_token_seconds_count") == 2
        assert metric(engine, "vllm:inter_token_latency_seconds_count") == 2 + 4
        assert metric(engine, "vllm:e2e_request_latency_seconds_count") == 2

    with_dispatcher(harness, story)


def test_a_request_beyond_the_queue_is_refused_whole_and_counts_nothing(harness: Harness) -> None:
    async def story(dispatcher: Dispatcher, engine: Engine) -> None:
        def sequences(count: int) -> list[Any]:
            return [harness.sequence("a", max_tokens=400) for _ in range(count)]

        async with dispatcher.start(engine, sequences(4)):
            with pytest.raises(QueueFull) as refused:
                dispatcher.start(engine, sequences(2))
            assert refused.value.http_status == 429
            assert 1 <= refused.value.retry_after <= 60
            assert metric(engine, "firectl:requests_refused_total") == 1
            async with dispatcher.start(engine, sequences(1)):  # the one place that is left
                with pytest.raises(QueueFull):
                    dispatcher.start(engine, sequences(1))
        with pytest.raises(ParamError, match="expected at most 5 choices in one request, got 6"):
            dispatcher.start(engine, sequences(6))
        async with dispatcher.start(engine, sequences(5)):  # who left has freed all places
            pass

    with_dispatcher(harness, story, max_num_seqs=2, max_waiting=3)


def test_a_request_is_ended_at_its_deadline_and_frees_its_slots(harness: Harness) -> None:
    async def story(dispatcher: Dispatcher, engine: Engine) -> None:
        sequences = [harness.sequence("a", max_tokens=500) for _ in range(4)]
        with pytest.raises(ApiError) as late:
            await read_all(dispatcher.start(engine, sequences))
        assert (late.value.http_status, late.value.reason) == (504, "REQUEST_TIMEOUT")
        assert "--request-timeout" in str(late.value.hint)
        assert metric(engine, "firectl:requests_timed_out_total") == 1
        await asyncio.wrap_future(engine.call(lambda: None))  # the cancel came before it
        assert metric(engine, "vllm:num_requests_running") == 0

    with_dispatcher(harness, story, request_timeout=0.02)


def test_a_late_answer_is_a_504_and_a_late_stream_ends_with_the_error(tmp_path: Path) -> None:
    # 6000 tokens take longer than a second: no step takes less than half a millisecond.
    base = make_base(tmp_path / "base", max_positions=8192)
    with EngineProcess(base, "--request-timeout", "1") as engine:
        engine.wait_ready()
        body = {"model": "base", "prompt": "hello", "max_tokens": 6000, "n": 8, "ignore_eos": True}
        late = engine.post("/v1/completions", body)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "REQUEST_TIMEOUT")
        assert engine.stream("/v1/completions", body)[-1]["error"]["code"] == "REQUEST_TIMEOUT"
        engine.wait_for(engine.idle, timeout=5)
        assert engine.metric("firectl:requests_timed_out_total") == 2
        assert engine.metric("vllm:time_to_first_token_seconds_count") == 2 * 8
        assert engine.metric("vllm:e2e_request_latency_seconds_count") == 0
