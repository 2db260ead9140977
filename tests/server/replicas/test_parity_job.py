"""The figures of a deployed adapter's answers: measured when there is nothing else to do, kept with the row."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from firectl.lora.merge import merge
from firectl.schemas.parity import Parity
from firectl.server.activity import Activity
from firectl.server.parity_job import ParityJobs, read_report
from tests.server.replicas.adapters import write_adapter
from tests.server.replicas.platform import CATALOG, ME, Platform, prepared
from tests.tiny import make_base

BASE, LORA, OTHER = f"{CATALOG}/models/base", f"{ME}/models/lora", f"{ME}/models/other"
MERGE, MULTI = f"{ME}/deployments/merge", f"{ME}/deployments/multi"
RECORD = {"tensors_changed": 2, "delta_norm": 1.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, `lora`, `other` and `merged` (of the first two)."""
    folder = tmp_path_factory.mktemp("parity")
    base = make_base(folder / "base", hidden=64)
    write_adapter(folder / "lora", 64, value=0.4)
    write_adapter(folder / "other", 64, value=-0.3, r=8)
    merge(folder / "lora", base, folder / "merged")
    return folder


@pytest.fixture
def still(tmp_path: Path, folders: Path) -> Iterator[Platform]:
    """Rows of a platform on which nothing runs: a live merge, and a base with an addon loaded, both READY."""
    platform = prepared(tmp_path / "local")
    platform.add_model(BASE, folders / "base")
    platform.add_model(LORA, folders / "lora", BASE)
    platform.add_model(OTHER, folders / "other", BASE)
    (platform.home / "merged").mkdir()
    (platform.home / "merged" / "x").symlink_to(folders / "merged", target_is_directory=True)
    platform.deploy("merge", LORA, BASE)
    platform.set(MERGE, state="READY", served_folder="merged/x", merge_record=RECORD)
    platform.deploy("multi", BASE, enable_addons=True)
    platform.set(MULTI, state="READY", served_folder="models/base")
    yield platform
    platform.store.close()


def jobs(platform: Platform, activity: Activity | None = None, **options: int) -> ParityJobs:
    activity = activity or Activity(platform.store, platform.now)
    return ParityJobs(platform.store, platform.home, activity, platform.now, settle=0.05, **options)


async def until(running: ParityJobs, done: object, seconds: float = 60) -> None:
    assert callable(done)
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task})


def test_a_live_merge_and_a_loaded_addon_get_the_figures_of_their_answers(still: Platform) -> None:
    load = still.load(OTHER, MULTI)
    still.set(load, state="DEPLOYED")

    def loaded() -> Parity | None:
        row = still.loaded(load)
        assert row is not None
        return row.parity

    asyncio.run(until(jobs(still), lambda: still.deployment(MERGE).parity and loaded()))
    for model, found in ((LORA, still.deployment(MERGE).parity), (OTHER, loaded())):
        assert found is not None
        assert (found.model, found.changes_answers, found.ways_agree, found.error) == (model, True, True, None)
        assert found.comparisons is not None
        figures = {(pair.left, pair.right): pair for pair in found.comparisons}
        assert (figures["dynamic", "merged"].max_difference or 1) < 1e-3
        assert figures["dynamic", "merged"].top1_agreement == 1.0
        assert (figures["base", "merged"].max_difference or 0) > 0.01
        assert found.measure_time is not None
    assert still.deployment(MULTI).parity is None


def test_a_large_base_is_not_loaded_unasked_and_what_to_run_is_said(still: Platform) -> None:
    asyncio.run(until(jobs(still, largest=1000), lambda: still.deployment(MERGE).parity))
    found = still.deployment(MERGE).parity
    assert found is not None
    assert (found.comparisons, found.changes_answers) == (None, None)
    assert str(found.error).startswith("not measured: its base has ")
    assert "firectl lora parity " in str(found.error)


def test_nothing_is_measured_while_there_is_something_to_do(still: Platform) -> None:
    activity = Activity(still.store, still.now)

    async def busy() -> None:
        ticket = activity.admit(MULTI, BASE)
        task = asyncio.create_task(jobs(still, activity, largest=1000).run())
        await asyncio.sleep(1.5)
        assert still.deployment(MERGE).parity is None
        ticket.end(200)
        async with asyncio.timeout(10):
            while still.deployment(MERGE).parity is None:
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})
        await activity.flush()

    asyncio.run(busy())


def test_figures_of_what_is_served_no_more_are_dropped(still: Platform) -> None:
    running = jobs(still)
    subject, busy = running._look()
    assert subject is not None
    assert not busy
    running._write(replace(subject, bound="merged/before"), Parity(tokens=1))
    assert still.deployment(MERGE).parity is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "the measurement ended without a report"),
        (b"Killed\n", "the measurement ended without a report"),
        (b'noise\n{"error": {"code": 3, "message": "torch is not installed"}}\n', "torch is not installed"),
        (b'{"changes": true}', "the measurement ended without a report"),
    ],
)
def test_a_measurement_that_fails_says_why_and_is_not_repeated(text: bytes, error: str) -> None:
    assert read_report(text) == Parity(error=error)
