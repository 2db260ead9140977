"""Clients that disconnect: the engine cancels their requests within a few steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.engine.process import EngineProcess

SLOTS = 8
"""Of the `engine` fixture."""
STEPS = 10
"""Steps of every slot from a closed connection to a free slot: the current step, and those before the event loop reads
the connection. A test of the engine without HTTP allows one step."""
FASTEST = 0.0005
"""Seconds of the fastest step of the tiny model. The engine continues between the last look at its metrics and the end
of the clients, which takes a while on a loaded machine."""


@contextmanager
def leaving(engine: EngineProcess) -> Iterator[Callable[[], None]]:
    """For a block in which clients disconnect. It calls `begun` just before: that waits until all slots are in use."""
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
