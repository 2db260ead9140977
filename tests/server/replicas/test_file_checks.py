"""Stored weights that changed on disk (`server/replicas/file_checks.py`): nothing serves until they are back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from firectl.lora.read.hashing import stamp
from firectl.server.store.rows import ModelRow
from tests.server.replicas.adapters import write_adapter
from tests.server.replicas.platform import CATALOG, ME, Platform, prepared, running, wait
from tests.tiny import make_base

BASE, LORA = f"{CATALOG}/models/base", f"{ME}/models/lora"
WEIGHTS = "weights.bin"


def flip(path: Path) -> bytes:
    """Change the last byte; the content before."""
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 0x80]))
    return good


def cut(path: Path) -> bytes:
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    return good


def remove(path: Path) -> bytes:
    good = path.read_bytes()
    path.unlink()
    return good


def scripted(platform: Platform, name: str, base: str | None = None, **script: Any) -> Path:
    """A model for the scripted engine with a file of weights, which is returned."""
    folder = platform.home.parent / "scripts" / name
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"weights" * 1000)
    platform.scripted_model(name, base, **script)
    return folder / WEIGHTS


def real(platform: Platform, tmp_path: Path) -> tuple[Path, Path]:
    """A base and an adapter to be merged; their files of weights."""
    base, adapter = make_base(tmp_path / "base", hidden=64), write_adapter(tmp_path / "adapter", 64)
    platform.add_model(BASE, base)
    platform.add_model(LORA, adapter, BASE)
    return base / "model.safetensors", adapter / "adapter_model.safetensors"


def model(platform: Platform, name: str) -> ModelRow:
    with platform.store.read() as tx:
        row = tx.models.get(name)
    assert row is not None
    return row


def rot(platform: Platform, name: str, path: Path) -> bytes:
    """Change a file as a bad disk does: nothing but its content tells."""
    good = flip(path)
    with platform.store.note() as tx:
        row = tx.models.get(name)
        assert row is not None
        tx.models.update(name, stamps={**(row.stamps or {}), path.name: stamp(path)})
    return good


def answers(platform: Platform, route: str) -> bool:
    return platform.chat(route, "tokens:1").status_code == 200


def lost(platform: Platform, deployment: str) -> bool:
    row = platform.deployment(deployment)
    assert row.state != "FAILED", row.status
    return row.state != "READY" and row.status.code == "DATA_LOSS"


@pytest.mark.parametrize("harm", [flip, cut, remove])
def test_a_base_damaged_while_the_platform_is_down_serves_again_when_it_is_put_back(
    tmp_path: Path, harm: Callable[[Path], bytes]
) -> None:
    with running(tmp_path / "local") as platform:
        weights = scripted(platform, BASE)
        name = platform.deploy("d", BASE)
        platform.ready(name)
    good = harm(weights)
    with running(tmp_path / "local") as platform:
        wait(lambda: lost(platform, name))
        assert f"{BASE}: the file {WEIGHTS} " in (platform.deployment(name).status.message or "")
        refused = platform.chat(name)
        assert (refused.status_code, platform.pids(name)) == (503, [])
        assert WEIGHTS in refused.text
        damage = model(platform, BASE).damage
        assert damage is not None
        assert damage.code == "DATA_LOSS"
        weights.write_bytes(good)
        wait(lambda: answers(platform, name), 20)
        assert platform.ready(name).status.message == ""
        assert model(platform, BASE).damage is None


def test_a_base_damaged_while_it_serves_does_not_answer_until_it_is_back(platform: Platform) -> None:
    weights = scripted(platform, BASE)
    name = platform.deploy("d", BASE)
    platform.ready(name)
    good = flip(weights)
    wait(lambda: lost(platform, name), 20)
    assert platform.chat(name).status_code == 503
    weights.write_bytes(good)
    wait(lambda: answers(platform, name), 20)
    own = platform.load_row(f"{ME}/deployedModels/own-d")
    wait(lambda: (row := platform.loaded(own.name)) is not None and row.state == "DEPLOYED")


def _until_other_stamps(platform: Platform, before: object) -> None:
    wait(lambda: model(platform, BASE).stamps != before, 20)


def test_another_time_or_inode_alone_changes_nothing(platform: Platform) -> None:
    weights = scripted(platform, BASE)
    name = platform.deploy("d", BASE)
    platform.ready(name)
    pids = platform.pids(name)
    for other_inode in (False, True):
        before = model(platform, BASE).stamps
        if other_inode:
            os.replace(shutil.copy(weights, f"{weights}2"), weights)
        else:
            os.utime(weights)
        platform.wakeup.poke()
        _until_other_stamps(platform, before)
        assert model(platform, BASE).damage is None
        assert (platform.ready(name).state, platform.pids(name)) == ("READY", pids)
        assert answers(platform, name)


def test_a_content_that_changed_under_the_same_stamps_is_found_at_rest(platform: Platform) -> None:
    weights = scripted(platform, BASE)
    name = platform.deploy("d", BASE)
    platform.ready(name)
    good = rot(platform, BASE, weights)
    platform.pass_time(timedelta(days=2).total_seconds())
    wait(lambda: lost(platform, name), 20)
    weights.write_bytes(good)
    wait(lambda: answers(platform, name), 20)


def test_a_content_that_changed_under_the_same_stamps_is_found_on_request(platform: Platform) -> None:
    weights = scripted(platform, BASE)
    name = platform.deploy("d", BASE)
    platform.ready(name)
    rot(platform, BASE, weights)
    platform.supervisor.checks.verify(BASE)
    platform.wakeup.poke()
    wait(lambda: lost(platform, name))


def test_a_platform_that_goes_down_while_it_reads_calls_nothing_damaged(tmp_path: Path) -> None:
    with running(tmp_path / "local") as platform:
        folder = tmp_path / "large"
        folder.mkdir()
        with (folder / WEIGHTS).open("wb") as file:
            file.truncate(256 << 20)
        platform.add_model(BASE, folder)
        os.utime(folder / WEIGHTS)
        wait(lambda: BASE in platform.supervisor.checks.reading, 20)
    store = prepared(tmp_path / "local").store
    with store.read() as tx:
        row = tx.models.get(BASE)
    store.close()
    assert row is not None
    assert row.damage is None
    assert row.stamps != {WEIGHTS: stamp(folder / WEIGHTS)}


def test_a_model_that_was_never_read_is_read_before_it_serves(tmp_path: Path) -> None:
    """A data folder of an earlier version has no stamps."""
    platform = prepared(tmp_path / "local")
    weights = scripted(platform, BASE)
    good = flip(weights)
    with platform.store.begin() as tx:
        tx.models.update(BASE, stamps=None, check_time=None)
    name = platform.deploy("d", BASE)
    platform.store.close()
    with running(tmp_path / "local") as platform:
        wait(lambda: lost(platform, name))
        weights.write_bytes(good)
        wait(lambda: answers(platform, name), 20)


@pytest.mark.parametrize("when", ["before it is loaded", "while it is loaded"])
def test_a_damaged_adapter_is_not_loaded_and_its_base_keeps_serving(platform: Platform, when: str) -> None:
    scripted(platform, BASE)
    weights = scripted(platform, LORA, BASE, voice="lora")
    name = platform.deploy("d", BASE, enable_addons=True)
    platform.ready(name)
    route = f"{LORA}#{name}"
    if when == "while it is loaded":
        load = platform.load(LORA, name)
        platform.deployed(load)
        good = flip(weights)
    else:
        good = flip(weights)
        load = platform.load(LORA, name)
    wait(lambda: (row := platform.loaded(load)) is not None and row.status.code == "DATA_LOSS", 20)
    wait(lambda: platform.chat(route).status_code == 503)
    assert WEIGHTS in platform.chat(route).text
    assert answers(platform, name)
    weights.write_bytes(good)
    wait(lambda: answers(platform, route), 20)
    platform.deployed(load)


@pytest.mark.parametrize("which", [0, 1])
def test_a_merge_refuses_what_is_not_its_input_and_is_made_when_it_is_back(
    platform: Platform, tmp_path: Path, which: int
) -> None:
    weights = real(platform, tmp_path)[which]
    good = rot(platform, (BASE, LORA)[which], weights)
    name = platform.deploy("d", LORA, BASE)
    wait(lambda: lost(platform, name), 60)
    wait(lambda: model(platform, (BASE, LORA)[which]).damage is not None)
    assert not (platform.home / "merged" / platform.merged_key(BASE, LORA)).exists()
    weights.write_bytes(good)
    wait(lambda: answers(platform, name), 60)
    record = platform.deployment(name).merge_record
    assert record is not None
    assert str(record["result_hash"]).startswith("sha256:")


def merged_file(platform: Platform) -> Path:
    return platform.home / "merged" / platform.merged_key(BASE, LORA) / "model.safetensors"


@pytest.mark.parametrize("when", ["down", "up"])
def test_a_damaged_merge_is_made_again(tmp_path: Path, when: str) -> None:
    with running(tmp_path / "local") as platform:
        real(platform, tmp_path)
        name = platform.deploy("d", LORA, BASE)
        platform.ready(name, 60)
        pids = platform.pids(name)
        merged = merged_file(platform)
        if when == "up":
            good = flip(merged)
            platform.wakeup.poke()
            wait(lambda: merged.is_file() and merged.read_bytes() == good, 60)
            wait(lambda: answers(platform, name), 20)
            assert platform.pids(name) != pids
    if when == "down":
        good = flip(merged)
        with running(tmp_path / "local") as platform:
            wait(lambda: answers(platform, name), 60)
            assert merged.read_bytes() == good


def test_a_merge_of_an_earlier_version_is_made_again_before_it_serves(tmp_path: Path) -> None:
    with running(tmp_path / "local") as platform:
        real(platform, tmp_path)
        name = platform.deploy("d", LORA, BASE)
        platform.ready(name, 60)
        merged = merged_file(platform)
    record = json.loads((merged.parent / "firectl_merge.json").read_text())
    good = flip(merged)
    before = {key: value for key, value in record.items() if key not in ("result_hash", "files")}
    (merged.parent / "firectl_merge.json").write_text(json.dumps(before))
    with running(tmp_path / "local") as platform:
        wait(lambda: answers(platform, name), 60)
        assert merged.read_bytes() == good


def test_a_merge_that_was_only_touched_is_kept(tmp_path: Path) -> None:
    with running(tmp_path / "local") as platform:
        real(platform, tmp_path)
        name = platform.deploy("d", LORA, BASE)
        platform.ready(name, 60)
        merged = merged_file(platform)
    os.utime(merged, (1, 1))
    with running(tmp_path / "local") as platform:
        wait(lambda: answers(platform, name), 60)
        assert merged.stat().st_mtime == 1
