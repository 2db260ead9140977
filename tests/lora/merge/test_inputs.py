"""A folder that is damaged, replaced or changed during the merge is DATA_LOSS."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from firectl.errors import Code, FirectlError
from firectl.lora.merge.inputs import Expected, Unchanged, require_hash
from firectl.lora.merge.merge import merge
from firectl.lora.read.hashing import content_hash
from tests.lora.conftest import Make


def flip(path: Path) -> None:
    """Change the last number of a file of weights; it stays finite."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)


def expected(folder: Path) -> Expected:
    files = [path.name for path in folder.iterdir()]
    return Expected(content_hash(folder, files), files)


@pytest.mark.parametrize("what", ["adapter", "base model"])
@pytest.mark.parametrize("harm", ["flipped", "cut", "gone", "nan"])
def test_a_folder_that_is_not_what_the_caller_expects_is_refused_as_data_loss(
    base: Make, adapter: Make, tmp_path: Path, what: str, harm: str
) -> None:
    folders = {
        "base model": Path(shutil.copytree(base(), tmp_path / "base")),
        "adapter": Path(shutil.copytree(adapter(base()), tmp_path / "adapter")),
    }
    before = {name: expected(folder) for name, folder in folders.items()}
    (weights,) = folders[what].glob("*.safetensors")
    match harm:
        case "flipped":
            flip(weights)
        case "cut":
            os.truncate(weights, weights.stat().st_size - 100)
        case "gone":
            weights.unlink()
        case "nan":
            weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    with pytest.raises(FirectlError) as caught:
        merge(
            folders["adapter"],
            folders["base model"],
            tmp_path / "out",
            expected_adapter=before["adapter"],
            expected_base=before["base model"],
        )
    assert caught.value.code is Code.DATA_LOSS
    assert caught.value.message.startswith(f"{what}: ")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_replaced_during_the_merge_is_noticed(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base(), tmp_path / "base"))
    config = folder / "config.json"

    def replace(done: int, total: int) -> None:
        if done == total:
            config.write_bytes(config.read_bytes())

    with pytest.raises(FirectlError, match=r"base model: the file config.json changed during the merge") as caught:
        merge(adapter(base()), folder, tmp_path / "out", replace)
    assert caught.value.code is Code.DATA_LOSS
    assert not (tmp_path / "out").exists()


def test_only_changes_of_the_named_files_are_noticed(good: Path) -> None:
    unchanged = Unchanged("adapter", good)
    (good / "notes.txt").write_text("new")
    unchanged.require(["adapter_config.json", "adapter_model.safetensors"])
    with pytest.raises(FirectlError, match=r"^adapter: the file notes\.txt changed during the merge$"):
        unchanged.require(["notes.txt"])


def test_the_hash_covers_the_expected_files_or_the_models_own(good: Path) -> None:
    own = ["adapter_config.json", "adapter_model.safetensors"]
    digest = content_hash(good, own)
    assert require_hash("adapter", good, Expected(), own) == digest
    assert require_hash("adapter", good, Expected(digest, own), ["adapter_config.json"]) == digest
    with pytest.raises(FirectlError, match=f"hash to {digest}, expected sha256:0: they are damaged or replaced"):
        require_hash("adapter", good, Expected("sha256:0"), own)
