"""What a process serves: nothing while it loads, then the base and its adapters, then the error it died of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from firectl.engine.adapters.read import AdapterReader
from firectl.engine.adapters.registry import Registry
from firectl.engine.generation import Dispatcher
from firectl.engine.model_server import ModelServer, Ready, UnknownModel
from firectl.errors import ApiError
from tests.engine.harness import Harness


def test_while_it_loads_a_request_gets_503(harness: Harness) -> None:
    server = ModelServer(harness.options)
    assert server.health == "loading"
    with pytest.raises(ApiError) as early:
        server.start("base", [harness.sequence("a")])
    assert (early.value.http_status, early.value.reason) == (503, "ENGINE_LOADING")


def with_server(harness: Harness, lora: bool, story: Callable[[ModelServer], Coroutine[Any, Any, None]]) -> ModelServer:
    server = ModelServer(harness.options)

    async def run() -> None:
        registry = Registry(engine, AdapterReader(harness.loaded, 64), harness.options) if lora else None
        server.become(Ready(engine, Dispatcher(asyncio.get_running_loop(), harness.options), registry))
        await story(server)

    with harness.running() as (engine, _):
        asyncio.run(run())
    return server


@pytest.mark.parametrize("lora", [False, True])
def test_a_name_means_the_base_or_a_loaded_adapter(lora: bool, harness: Harness, adapters: dict[str, Path]) -> None:
    async def story(server: ModelServer) -> None:
        assert server.health == "ok"
        assert await server.adapter("base") is None
        with pytest.raises(UnknownModel, match="the model small is not served by this engine"):
            await server.adapter("small")
        if registry := server.ready.registry:
            await registry.load("small", adapters["small"])
            adapter = await server.adapter("small")
            assert adapter is not None
            assert adapter.name == "small"

    with_server(harness, lora, story)


def test_after_the_engine_has_ended_health_says_why(harness: Harness) -> None:
    async def story(server: ModelServer) -> None:
        server.start("base", [harness.sequence("a")])

    server = with_server(harness, False, story)
    assert server.health == "the engine was stopped"
    assert b'firectl:requests_total{adapter="base"} 1.0' in server.ready.engine.metrics.page()
