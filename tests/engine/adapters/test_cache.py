"""More adapters than memory holds: evicted, read again by their identity, and never another's weights.

Proves `engine/adapters/cache.py` through a registry.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from firectl.engine.adapters.read import AdapterReader
from firectl.engine.adapters.registry import Registry
from firectl.engine.engine import Engine
from firectl.errors import ApiError, Code
from tests.engine.harness import Harness, metric
from tests.engine.process import EngineProcess
from tests.tiny import make_adapter


@pytest.fixture(scope="module")
def voices(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("voices")
    return {f"v{n}": make_adapter(folder / f"v{n}", base, r=4, seed=100 + n) for n in range(6)}


@pytest.fixture
def running(harness: Harness) -> Iterator[Engine]:
    with harness.running() as (engine, _):
        yield engine


def registry(engine: Engine, harness: Harness, room: int) -> Registry:
    return Registry(engine, AdapterReader(harness.loaded, 64), replace(harness.options, max_loras_in_memory=room))


def test_the_last_used_stay_and_the_evicted_are_read_again(
    running: Engine, harness: Harness, voices: dict[str, Path]
) -> None:
    async def story() -> None:
        found = registry(running, harness, room=3)
        for name, path in voices.items():
            await found.load(name, path)
        assert list(found.adapters) == list(voices)
        assert (metric(running, "firectl:adapters_loaded"), metric(running, "firectl:adapters_in_memory")) == (6, 3)
        assert metric(running, "firectl:adapter_evictions_total") == 3
        await found.bind("v3")  # still there, and now the youngest
        assert metric(running, "firectl:adapter_reads_total") == 0
        again = await found.bind("v0")
        assert again is not None
        assert (again.name, again.path) == ("v0", voices["v0"])
        assert metric(running, "firectl:adapter_reads_total") == 1
        await found.bind("v3")
        assert metric(running, "firectl:adapter_reads_total") == 1
        await found.bind("v4")  # v0 took its place
        assert metric(running, "firectl:adapter_reads_total") == 2
        assert metric(running, "firectl:adapters_in_memory") == 3

    asyncio.run(story())


def test_an_adapter_in_use_is_not_read_again_and_is_freed_with_its_request(
    running: Engine, harness: Harness, voices: dict[str, Path]
) -> None:
    async def story() -> None:
        found = registry(running, harness, room=2)
        await found.load("v0", voices["v0"])
        held = await found.bind("v0")
        await found.load("v1", voices["v1"])
        await found.load("v2", voices["v2"])
        assert metric(running, "firectl:adapter_evictions_total") == 1
        assert await found.bind("v0") is held
        assert metric(running, "firectl:adapter_reads_total") == 0
        await found.bind("v1")
        await found.bind("v2")
        assert held is not None
        reference = weakref.ref(held)
        del held
        gc.collect()
        assert reference() is None

    asyncio.run(story())


def test_requests_that_wait_for_one_adapter_share_one_read(
    running: Engine, harness: Harness, voices: dict[str, Path]
) -> None:
    async def story() -> None:
        found = registry(running, harness, room=2)
        for name in ("v0", "v1", "v2"):
            await found.load(name, voices[name])
        leaving = asyncio.create_task(found.bind("v0"))
        others = [asyncio.create_task(found.bind("v0")) for _ in range(7)]
        await asyncio.sleep(0)
        leaving.cancel()
        adapters = await asyncio.gather(*others)
        assert len({id(adapter) for adapter in adapters}) == 1
        assert metric(running, "firectl:adapter_reads_total") == 1

    asyncio.run(story())


def test_pinned_adapters_are_never_evicted_and_leave_room(
    running: Engine, harness: Harness, voices: dict[str, Path]
) -> None:
    async def story() -> None:
        found = registry(running, harness, room=2)
        await found.load("v0", voices["v0"], pinned=True)
        for name in ("v1", "v2", "v3"):
            await found.load(name, voices[name])
        await found.bind("v0")
        assert metric(running, "firectl:adapter_reads_total") == 0
        with pytest.raises(ApiError, match="no more adapters can be pinned") as refused:
            await found.load("v4", voices["v4"], pinned=True)
        assert refused.value.code is Code.FAILED_PRECONDITION
        await found.unload("v0")
        # An evicted adapter can be pinned too: it is read for that.
        assert not await found.load("v1", voices["v1"], pinned=True)
        await found.bind("v2")
        await found.bind("v3")
        reads = metric(running, "firectl:adapter_reads_total")
        await found.bind("v1")
        assert metric(running, "firectl:adapter_reads_total") == reads

    asyncio.run(story())


def test_an_adapter_that_is_unloaded_during_its_read_stays_unloaded(
    running: Engine, harness: Harness, voices: dict[str, Path]
) -> None:
    async def story() -> None:
        found = registry(running, harness, room=2)
        for name in ("v0", "v1", "v2"):
            await found.load(name, voices[name])
        reading = asyncio.create_task(found.bind("v0"))
        await asyncio.sleep(0)
        await found.unload("v0")
        assert (await reading) is not None  # who named it before has it
        assert await found.bind("v0") is None
        assert metric(running, "firectl:adapters_in_memory") == 2

    asyncio.run(story())


def test_files_that_changed_after_the_load_are_never_served(
    running: Engine, harness: Harness, voices: dict[str, Path], tmp_path: Path
) -> None:
    async def story() -> None:
        found = registry(running, harness, room=2)
        shutil.copytree(voices["v0"], tmp_path / "own")
        await found.load("own", tmp_path / "own")
        for name in ("v1", "v2"):
            await found.load(name, voices[name])
        shutil.copy(voices["v3"] / "adapter_model.safetensors", tmp_path / "own")
        with pytest.raises(ApiError, match="cannot be read again") as refused:
            await found.bind("own")
        assert (refused.value.http_status, refused.value.reason) == (412, "ADAPTER_LOST")
        shutil.rmtree(tmp_path / "own")
        with pytest.raises(ApiError, match="cannot be read again"):
            await found.bind("own")
        assert await found.bind("v1") is not None

    asyncio.run(story())


def test_answers_are_the_same_after_an_eviction(base: Path, harness: Harness, voices: dict[str, Path]) -> None:
    with EngineProcess(base, "--enable-lora", "--max-loras-in-memory", "2") as engine:
        engine.wait_ready()
        for name, path in voices.items():
            assert engine.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}).status_code == 200
        for _ in range(2):
            for name, path in voices.items():
                expected = harness.run([harness.sequence("hello", max_tokens=8, adapter=harness.adapter(path))])[0].text
                assert engine.complete(model=name, ignore_eos=True)["choices"][0]["text"] == expected
        assert engine.metric("firectl:adapters_in_memory") == 2
        assert engine.metric("firectl:adapter_reads_total") >= 10


def test_a_thread_that_read_an_adapter_ends_with_it(voices: dict[str, Path], base: Path) -> None:
    with EngineProcess(base, "--enable-lora") as engine:
        engine.wait_ready()
        process = psutil.Process(engine.process.pid)
        engine.complete()
        before = process.num_threads()
        for name, path in voices.items():
            assert engine.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}).status_code == 200
            engine.complete(model=name)
        engine.wait_for(lambda: process.num_threads() <= before)
