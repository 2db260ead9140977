"""A merge as a whole: its record, what it refuses, and nothing at all after an error or an interruption."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.merge.merge import merge
from firectl.lora.read.hashing import content_hash
from firectl.lora.read.safetensors import read_header
from tests.lora.conftest import Make
from tests.lora.merge.results import tensors_of, written_record
from tests.lora.read.spoil import renamed, tensors


def test_the_record_proves_that_every_tensor_was_used_and_changed_something(
    base: Make, adapter: Make, tmp_path: Path
) -> None:
    folder, lora = base(), adapter(base())
    record = merge(lora, folder, tmp_path / "out")
    assert written_record(tmp_path / "out") == json.loads(json.dumps(record.to_document()))
    assert record.adapter_hash == content_hash(lora, ["adapter_config.json", "adapter_model.safetensors"])
    assert record.base_hash == content_hash(folder)
    assert (record.tensors_total, record.tensors_changed, record.adapter_tensors) == (21, 14, 28)
    assert record.untied is False
    before, after = tensors_of(folder), tensors_of(tmp_path / "out")
    assert set(record.deltas) == {name for name in before if name.endswith("_proj.weight")}
    for name, norm in record.deltas.items():
        assert norm == pytest.approx(float((after[name] - before[name]).norm()), rel=1e-4)
    assert record.delta_norm == pytest.approx(math.sqrt(sum(norm**2 for norm in record.deltas.values())))


@pytest.mark.parametrize("shards", [1, 4])
def test_the_record_has_the_hash_of_the_result(base: Make, adapter: Make, tmp_path: Path, shards: int) -> None:
    folder = base(shards=shards)
    record = merge(adapter(base()), folder, tmp_path / "out")
    names = [path.name for path in (tmp_path / "out").iterdir() if path.name != "firectl_merge.json"]
    assert record.result_hash == content_hash(tmp_path / "out", names)


def test_a_folder_that_is_there_already_is_left_alone(base: Make, adapter: Make, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(AdapterError, match="is there already"):
        merge(adapter(base()), base(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def _flip_the_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda out: _flip_the_last_byte(next(out.glob("*.safetensors"))),
        lambda out: (out / "config.json").write_text((out / "config.json").read_text() + " "),
        lambda out: (out / "config.json").unlink(),
        lambda out: (out / "another").write_bytes(b""),
    ],
)
def test_a_result_that_was_changed_since_is_no_longer_the_merge(
    base: Make, adapter: Make, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    folder, lora = base(), adapter(base())
    record = merge(lora, folder, tmp_path / "out")
    assert merge(lora, folder, tmp_path / "out").deltas == record.deltas
    change(tmp_path / "out")
    with pytest.raises(AdapterError, match="is there already"):
        merge(lora, folder, tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99, 1.0])
def test_an_interruption_at_any_point_leaves_nothing(base: Make, adapter: Make, tmp_path: Path, share: float) -> None:
    class Interrupted(BaseException):
        pass

    def progress(done: int, total: int) -> None:
        if done >= share * total:
            raise Interrupted

    with pytest.raises(Interrupted):
        merge(adapter(base()), base(), tmp_path / "out", progress)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_does_not_wait_for_the_hash_of_the_base(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base(shards=3), tmp_path / "base"))
    # A hole of 16 GB, which takes ten seconds and more to hash, in the last shard: the merge is ended in the first.
    info = list(read_header(max(folder.glob("*.safetensors"))).tensors.values())[-1]
    with info.file.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        fields = json.loads(file.read(length))
        end = info.end - 8 - length
        data = file.read()
        fields["hole"] = {"dtype": "U8", "shape": [1 << 34], "data_offsets": [end, end + (1 << 34)]}
        text = json.dumps(fields).encode()
        file.seek(0)
        file.write(len(text).to_bytes(8, "little") + text + data)
        file.truncate(8 + len(text) + end + (1 << 34))
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["hole"] = info.file.name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        merge(adapter(base()), folder, tmp_path / "out", progress)
    assert time.monotonic() - began < 3
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_place_inside_an_earlier_result_is_refused(base: Make, adapter: Make, tmp_path: Path) -> None:
    merge(adapter(base()), base(), tmp_path / "out")
    with pytest.raises(AdapterError, match=r"is inside .*out, the result of a merge"):
        merge(adapter(base()), base(), tmp_path / "out" / "deeper" / "again")
    assert not (tmp_path / "out" / "deeper").exists()


def test_names_that_an_old_peft_wrote_give_the_same_merge(good: Path, base: Make, tmp_path: Path) -> None:
    merge(good, base(), tmp_path / "new")
    tensors(renamed(".weight", ".default.weight"))(good)
    merge(good, base(), tmp_path / "old")
    weights = [(tmp_path / age / "model.safetensors").read_bytes() for age in ("new", "old")]
    assert weights[0] == weights[1]
