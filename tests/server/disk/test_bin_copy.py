"""The safetensors copy of an adapter's `.bin` is verified: a wrong one is noticed and replaced before it is used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firectl.lora.read.hashing import FileHash, file_hash, stamp
from firectl.server.disk.bin_copy import COPY, examine_copy, has_copy
from firectl.server.disk.integrity import Examined, examine, untouched
from firectl.server.store.rows import ModelRow
from tests.lora.read.test_bin_file import save_as_bin
from tests.server.folders import write_adapter
from tests.server.process import Api, PlatformProcess
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


def test_a_copy_that_cannot_be_made_again_is_damage_unless_nothing_wrote_to_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = stamps_of(folder)
    old = tmp_path / "old" / "torch-2.5.1.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Name: torch\nVersion: 2.5.1\n")
    monkeypatch.syspath_prepend(old.parent)
    assert examined(folder, known) == Examined(None, known)
    flip(folder / SAFETENSORS)
    damage = examined(folder, known).damage
    assert damage is not None
    assert damage.startswith(
        f"the copy {SAFETENSORS} of {BIN} cannot be verified: {BIN} was not inspected: torch 2.5.1 "
    )


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
