"""The safetensors copy of an adapter's `.bin` is verified: a wrong one is noticed and replaced before it is used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import Code
from firectl.lora.read.bin_file import NotInspected
from firectl.lora.read.hashing import FileHash, file_hash, stamp
from firectl.server.disk.bin_copy import COPY, examine_copy, has_copy, write_copy
from firectl.server.disk.integrity import Examined, examine, untouched
from firectl.server.replicas import file_checks
from firectl.server.store.rows import ModelRow
from tests.lora.read.test_bin_file import save_as_bin
from tests.lora.read.test_bin_not_read import conversion, files_of_at_most, no_prlimit
from tests.server.folders import write_adapter
from tests.server.process import Api, PlatformProcess, until
from tests.server.replicas import adapters
from tests.server.replicas.platform import CATALOG, ME, Platform, running
from tests.tiny import make_base

BIN, SAFETENSORS = "adapter_model.bin", "adapter_model.safetensors"
BASE, LORA = f"{CATALOG}/models/base", f"{ME}/models/lora"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)


def examined(folder: Path, known: dict[str, list[int]] | None = None) -> Examined:
    files: dict[str, FileHash] = {name: file_hash(folder / name) for name in ("adapter_config.json", BIN)}
    assert has_copy(files)
    return examine_copy(folder, examine(folder, files), known)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter in a `.bin`, with the copy that an examination makes where none is."""
    folder = save_as_bin(write_adapter(tmp_path_factory.mktemp("made")))
    assert examined(folder).damage is None
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "adapter"))


def stamps_of(folder: Path) -> dict[str, list[int]]:
    return {name: stamp(folder / name) for name in ("adapter_config.json", BIN, COPY)}


def test_a_right_copy_stays_and_its_stamp_is_recorded(folder: Path) -> None:
    before = stamps_of(folder)
    assert examined(folder) == Examined(None, before)
    assert stamps_of(folder) == before


@pytest.mark.parametrize("harm", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_wrong_copy_is_noticed_by_its_stamp_and_replaced_by_the_right_one(
    folder: Path, harm: Callable[[Path], Any]
) -> None:
    right, known = (folder / SAFETENSORS).read_bytes(), stamps_of(folder)
    harm(folder / SAFETENSORS)
    assert not untouched(folder, known)
    found = examined(folder, known)
    assert found == Examined(None, stamps_of(folder))
    assert (folder / SAFETENSORS).read_bytes() == right
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", BIN, SAFETENSORS]


def test_without_torch_a_copy_is_right_if_nothing_wrote_to_it_and_otherwise_unknown(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = stamps_of(folder)
    old = tmp_path / "old" / "torch-2.5.1.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Name: torch\nVersion: 2.5.1\n")
    monkeypatch.syspath_prepend(old.parent)
    assert examined(folder, known) == Examined(None, known)
    flip(folder / SAFETENSORS)
    with pytest.raises(NotInspected, match=r"was not inspected: torch 2\.5\.1 "):
        examined(folder, known)


@no_prlimit
def test_a_full_disk_is_no_damage_and_the_next_check_repairs_the_copy(folder: Path) -> None:
    known, right = stamps_of(folder), (folder / SAFETENSORS).read_bytes()
    flip(folder / SAFETENSORS)
    wrong = (folder / SAFETENSORS).read_bytes()
    with files_of_at_most(64), pytest.raises(NotInspected) as caught:
        examined(folder, known)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert (folder / SAFETENSORS).read_bytes() == wrong
    assert examined(folder, known).damage is None
    assert (folder / SAFETENSORS).read_bytes() == right


@no_prlimit
def test_a_full_disk_of_the_platform_leaves_no_part_of_a_copy(folder: Path, made: Path) -> None:
    before = sorted(folder.iterdir())
    with files_of_at_most(64), pytest.raises(NotInspected) as caught:
        write_copy(made / SAFETENSORS, folder)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert sorted(folder.iterdir()) == before


def test_an_adapter_with_both_files_uploaded_has_no_copy() -> None:
    assert not has_copy({BIN, SAFETENSORS})
    assert not has_copy({SAFETENSORS})


def test_a_verification_on_the_platform_repairs_the_copy(
    api: Api, platform: PlatformProcess, base: str, tmp_path: Path
) -> None:
    name = api.ready_model(save_as_bin(write_adapter(tmp_path / "a")), base)
    [stored] = platform.home.glob(f"models/acme/{name.rpartition('/')[2]}.*")
    right = (stored / SAFETENSORS).read_bytes()
    flip(stored / SAFETENSORS)
    assert api.ok("POST", f"/v1/{name}:verify")["state"] == "READY"
    assert (stored / SAFETENSORS).read_bytes() == right


def row(platform: Platform) -> ModelRow:
    with platform.store.read() as tx:
        found = tx.models.get(LORA)
    assert found is not None
    return found


def test_a_merge_waits_for_a_copy_that_changed_and_is_made_from_the_right_one(tmp_path: Path) -> None:
    base, adapter = (
        make_base(tmp_path / "base", hidden=64),
        save_as_bin(adapters.write_adapter(tmp_path / "adapter", 64)),
    )
    with running(tmp_path / "local") as platform:
        platform.add_model(BASE, base)
        platform.add_model(LORA, adapter, BASE)
        platform.supervisor.checks.verify(LORA)
        right = (adapter / SAFETENSORS).read_bytes()
        assert (row(platform).stamps or {})[COPY] == stamp(adapter / SAFETENSORS)
        flip(adapter / SAFETENSORS)
        platform.ready(platform.deploy("merged", LORA, BASE), timeout=60)
        assert (adapter / SAFETENSORS).read_bytes() == right
        assert row(platform).damage is None


def test_a_check_whose_process_is_killed_leaves_the_row_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_checks, "_NOT_INSPECTED_EVERY", timedelta(seconds=0.5))
    base = make_base(tmp_path / "base", hidden=64)
    adapter = save_as_bin(adapters.write_adapter(tmp_path / "adapter", 64))
    with running(tmp_path / "local") as platform, ThreadPoolExecutor(1) as thread:
        checks = platform.supervisor.checks
        platform.add_model(BASE, base)
        platform.add_model(LORA, adapter, BASE)
        checks.verify(LORA)
        before = row(platform)
        verifying = thread.submit(checks.verify, LORA)
        conversion(os.getpid()).kill()
        with pytest.raises(NotInspected):
            verifying.result()
        assert row(platform) == before
        checks.force([LORA])
        conversion(os.getpid()).kill()
        until(lambda: not checks.forced)
        assert row(platform).damage is None
        assert row(platform).check_time != before.check_time
