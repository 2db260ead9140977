"""Clients that leave: what they asked for is given up within a few steps of their going."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.engine.process import EngineProcess

SLOTS = 8
"""Of the `engine` fixture."""
STEPS = 10
"""Steps of every slot from a closed connection to a free slot: the step under way, and those that fit in before the
loop that reads the connections has its turn. A test of the engine without HTTP has the one step."""
FASTEST = 0.0005
"""Seconds: no step of the tiny model takes less. Between a look at the figures and the clients' end the engine goes on,
and on a loaded machine that takes a while."""


@contextmanager
def leaving(engine: EngineProcess) -> Iterator[Callable[[], None]]:
    """For a block at whose end clients are gone. What it is given is called last, before they go: it waits until the
    engine answers in all its slots."""
    before = engine.metric("vllm:generation_tokens_total")
    seen: list[tuple[float, float]] = []

    def begun() -> None:
        engine.wait_for(lambda: engine.metric("vllm:num_requests_running") == SLOTS)
        engine.wait_for(lambda: engine.metric("vllm:generation_tokens_total") - before >= 2 * SLOTS)
        seen.append((time.monotonic(), engine.metric("vllm:generation_tokens_total")))

    yield begun
    passed = time.monotonic() - seen[0][0]
    engine.wait_for(lambda: engine.idle() and engine.metric("vllm:kv_cache_usage_perc") == 0, timeout=10)
    generated = engine.metric("vllm:generation_tokens_total") - seen[0][1]
    assert generated <= SLOTS * (STEPS + passed / FASTEST), (
        f"{generated} tokens, {passed:.3f} s after they were looked at"
    )
    assert engine.complete()["choices"]
