"""Live merges of `server/replicas/merge_job.py`: real merges in child processes, shared, refused and cleaned up."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import psutil

from firectl.lora.read.hashing import content_hash
from tests.server.replicas.adapters import write_adapter
from tests.server.replicas.platform import CATALOG, ME, Platform, running, wait
from tests.tiny import make_base

BASE = f"{CATALOG}/models/base"
LORA = f"{ME}/models/lora"
UNUSED = f"{'b' * 16}-{'b' * 16}"


def models(platform: Platform, tmp_path: Path, adapter: Path | None = None) -> None:
    base = make_base(tmp_path / "base", hidden=64)
    adapter = adapter or write_adapter(tmp_path / "adapter", 64)
    platform.add_model(BASE, base)
    platform.add_model(LORA, adapter, BASE)


def merges() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        # A child of another test that has ended but was not waited for has no command line any more.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "firectl.lora.merge" in child.cmdline():
                found.append(child)
    return found


def merged(platform: Platform) -> set[str]:
    return {path.name for path in (platform.home / "merged").iterdir()}


def test_two_deployments_of_one_adapter_share_one_merge_until_both_are_purged(
    platform: Platform, tmp_path: Path
) -> None:
    models(platform, tmp_path)
    (platform.home / "merged" / ".left.partial").mkdir(parents=True)
    (platform.home / "merged" / UNUSED).mkdir()
    (platform.home / "merged" / ".trash-left").mkdir()
    first, second = platform.deploy("first", LORA, BASE), platform.deploy("second", LORA, BASE)
    wait(lambda: platform.deployment(second).status.message == "merging adapter into base" and merges())
    assert len(merges()) == 1
    rows = [platform.ready(name, 60) for name in (first, second)]
    assert merged(platform) == {platform.merged_key(BASE, LORA)}
    assert [row.served_folder for row in rows] == [f"merged/{platform.merged_key(BASE, LORA)}"] * 2
    for row in rows:
        assert row.merge_record is not None
        assert row.merge_record["adapter_hash"] == content_hash(tmp_path / "adapter")
        assert (row.merge_record["tensors_changed"], row.merge_record["adapter_tensors"]) == (2, 4)
    answer = platform.chat(first, "tokens:1")
    assert (answer.status_code, answer.headers["x-firectl-model"]) == (200, LORA)
    platform.set(first, state="DELETING", purge_time=platform.now())
    wait(lambda: platform.supervisor.replica_count(first) == 0)
    platform.chat(second, "tokens:1")
    assert merged(platform) == {platform.merged_key(BASE, LORA)}
    platform.set(second, state="DELETING", purge_time=platform.now() + timedelta(hours=1))
    wait(lambda: platform.deployment(second).state == "DELETED")
    assert merged(platform) == {platform.merged_key(BASE, LORA)}
    platform.pass_time(3601)
    wait(lambda: merged(platform) == set())


def test_what_is_no_merge_of_the_platform_stays_under_merged(platform: Platform, tmp_path: Path) -> None:
    models(platform, tmp_path)
    mine = platform.home / "merged" / "my-own-merge"
    mine.mkdir(parents=True)
    (platform.home / "merged" / UNUSED).mkdir()
    name = platform.deploy("d", LORA, BASE)
    platform.ready(name, 60)
    assert merged(platform) == {platform.merged_key(BASE, LORA), mine.name}


def test_a_merge_that_is_refused_fails_the_deployment_with_its_reason(platform: Platform, tmp_path: Path) -> None:
    models(platform, tmp_path, write_adapter(tmp_path / "wide", 128))
    name = platform.deploy("d", LORA, BASE)
    wait(lambda: platform.deployment(name).state == "FAILED", 60)
    status = platform.deployment(name).status
    assert status.code == "INVALID_ARGUMENT"
    assert status.message is not None
    assert status.message.startswith("merge failed: ")
    assert "q_proj" in status.message
    assert merged(platform) == set()


def test_a_platform_that_goes_down_in_a_merge_ends_it(tmp_path: Path) -> None:
    with running(tmp_path / "local") as platform:
        models(platform, tmp_path)
        platform.deploy("d", LORA, BASE)
        (merge,) = wait(merges)
    assert not merge.is_running()


def test_a_merged_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    home = tmp_path / "local"
    with running(home) as platform:
        models(platform, tmp_path)
        name = platform.deploy("d", LORA, BASE)
        platform.ready(name, 60)
    (home / "merged" / platform.merged_key(BASE, LORA)).rename(tmp_path / "elsewhere")
    with running(home) as platform:
        wait(lambda: platform.chat(name, "tokens:1").status_code == 200, 60)
        assert merged(platform) == {platform.merged_key(BASE, LORA)}
