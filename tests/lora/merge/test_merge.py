"""The merge as a file operation: exact bits, the same folder around them, and nothing at all when it cannot be done."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError, Code, FirectlError
from firectl.lora.merge.block import BLOCK
from firectl.lora.merge.inputs import Expected
from firectl.lora.merge.merge import merge
from firectl.lora.merge.threads import FLUSH, Flusher
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.hashing import content_hash
from firectl.lora.read.safetensors import read_header
from tests import tiny
from tests.lora.conftest import Make
from tests.lora.read.spoil import renamed, tensors

BIG: dict[str, Any] = {"hidden": 1024, "layers": 2, "intermediate": 4608, "heads": 8, "kv_heads": 8}
"""A base of 150 MB: its largest weights take several blocks, and a merge of it can be caught half-way."""


def tensors_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def reference(base: Path, adapter: Path, scaling: float) -> dict[str, Any]:
    """The formula as written, on whole matrices, by torch and safetensors themselves."""
    result = tensors_of(base)
    factors = tensors_of(adapter)
    for name in result:
        a = factors.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        b = factors.get(f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight")
        if a is not None and b is not None:
            weight = result[name]
            result[name] = (weight.float() + scaling * (b.float() @ a.float())).to(weight.dtype)
    return result


def assert_bit_equal(folder: Path, expected: dict[str, Any]) -> None:
    """Of 16 bits one number in 1,000 may be off by its last bit: numpy may add up the ranks in another order."""
    import torch

    actual = tensors_of(folder)
    assert actual.keys() == expected.keys()
    off = total = 0
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        if value.dtype == torch.float32:
            assert torch.equal(actual[name], value), name
        else:
            steps = (actual[name].view(torch.int16).int() - value.view(torch.int16).int()).abs()
            assert steps.max() <= 1, name
            off, total = off + int(steps.sum()), total + steps.numel()
    assert off <= total / 1000


def run_merge(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "firectl.lora.merge", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_every_bit_is_that_of_the_formula_in_float32(
    base: Make, adapter: Make, tmp_path: Path, dtype: str, stored: str
) -> None:
    folder = base(dtype=dtype, shards=3)
    lora = adapter(base(), r=16, alpha=24, dtype=stored)
    merge(lora, folder, tmp_path / "out")
    assert_bit_equal(tmp_path / "out", reference(folder, lora, 24 / 16))


def test_a_matrix_of_several_blocks_has_the_bits_of_the_whole(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(**BIG)
    lora = adapter(folder)
    merge(lora, folder, tmp_path / "out")
    expected = reference(folder, lora, 2.0)
    assert max(value.numel() for value in expected.values()) > BLOCK
    assert_bit_equal(tmp_path / "out", expected)


@pytest.mark.parametrize("rank", [4, 16, 64, 128, 300])
def test_a_float32_base_has_torchs_bits_whatever_the_rank(base: Make, adapter: Make, tmp_path: Path, rank: int) -> None:
    """Few sums are made by numpy in torch's order; more ranks than that order is known for are left to torch."""
    folder = base(hidden=128, heads=4)
    lora = adapter(folder, r=rank, alpha=3 * rank)
    merge(lora, folder, tmp_path / "out")
    assert_bit_equal(tmp_path / "out", reference(folder, lora, 3.0))


def test_a_small_float32_base_is_merged_without_importing_torch(base: Make, adapter: Make, tmp_path: Path) -> None:
    """A live merge waits for it, and importing torch takes ten times as long as such a merge."""
    code = (
        "import sys; from pathlib import Path; from firectl.lora.merge.merge import merge\n"
        "merge(*map(Path, sys.argv[1:])); print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(adapter(base())), str(base()), str(tmp_path / "out")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_where_base_and_change_cancel_the_last_place_is_still_that_of_the_formula(
    base: Make, adapter: Make, tmp_path: Path, dtype: str
) -> None:
    """The order in which ranks are added up decides every digit that is left; the scaling is no power of two."""
    import torch
    from safetensors.torch import save_file

    options = {"hidden": 384, "heads": 4, "kv_heads": 4, "layers": 1}
    lora = adapter(base(**options), r=16, alpha=40)
    factors = tensors_of(lora)
    folder = Path(shutil.copytree(base(dtype=dtype, **options), tmp_path / "base"))
    weights = tensors_of(folder)
    for name, a in factors.items():
        if name.endswith("lora_A.weight"):
            change = 2.5 * (factors[name.replace("lora_A", "lora_B")] @ a)
            weights[name.removeprefix("base_model.model.").replace("lora_A.", "")] = -change.to(getattr(torch, dtype))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    merge(lora, folder, tmp_path / "out")
    assert_bit_equal(tmp_path / "out", reference(folder, lora, 2.5))


def test_bfloat16_picks_the_same_tokens_as_often_as_pefts_own_merge(base: Make, adapter: Make, tmp_path: Path) -> None:
    import torch

    folder = base(dtype="bfloat16", hidden=128, heads=4)
    lora = adapter(folder)
    merge(lora, folder, tmp_path / "out")
    ids = torch.randint(0, 256, (8, 256), generator=torch.Generator().manual_seed(0))

    def picks(model: Any) -> Any:
        with torch.no_grad():
            return model(input_ids=ids).logits.argmax(-1)

    unmerged = picks(tiny.load_reference(folder, lora, dtype="bfloat16"))
    peft = picks(tiny.load_reference(folder, lora, dtype="bfloat16").merge_and_unload())
    ours = picks(tiny.load_reference(tmp_path / "out", dtype="bfloat16"))
    agreement = (ours == unmerged).float().mean()
    assert agreement > 0.9
    assert agreement >= (peft == unmerged).float().mean() - 0.005


@pytest.mark.parametrize("shards", [1, 4])
def test_the_result_is_the_same_folder_with_other_weights(
    base: Make, adapter: Make, tmp_path: Path, shards: int
) -> None:
    folder = Path(shutil.copytree(base(shards=shards), tmp_path / "base"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (folder / "pytorch_model.bin").write_bytes(b"old weights")
    (folder / ".cache").mkdir()
    merge(adapter(base()), folder, tmp_path / "out")
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"pytorch_model.bin"}
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert made == kept | {"firectl_merge.json"}
    for name in kept:
        if not name.endswith(".safetensors"):
            assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes(), name
        else:
            before, after = read_header(folder / name), read_header(tmp_path / "out" / name)
            assert [(i.name, i.dtype, i.shape, i.start, i.end) for i in before.tensors.values()] == [
                (i.name, i.dtype, i.shape, i.start, i.end) for i in after.tensors.values()
            ]
            assert before.metadata == after.metadata


def written_record(out: Path) -> dict[str, Any]:
    """The record beside a result, without what it says of the files, which the folder alone has."""
    record: dict[str, Any] = json.loads((out / "firectl_merge.json").read_text())
    assert len(record.pop("stamp")) == 64
    files = record.pop("files")
    assert files.keys() == {path.name for path in out.iterdir()} - {"firectl_merge.json"}
    return record


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


def test_an_adapter_of_zeros_gives_the_base_back_and_the_record_says_so(
    base: Make, adapter: Make, tmp_path: Path
) -> None:
    record = merge(adapter(base(), scale=0.0), base(), tmp_path / "out")
    assert (record.tensors_changed, record.delta_norm) == (0, 0.0)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (base() / "model.safetensors").read_bytes()


def test_a_tied_head_gets_a_tensor_of_its_own_when_the_adapter_parts_it_from_the_embedding(
    base: Make, adapter: Make, tmp_path: Path
) -> None:
    folder = base(tied=True, shards=2, dtype="bfloat16")
    lora = adapter(base(tied=True), targets=["q_proj", "lm_head"])
    record = merge(lora, folder, tmp_path / "out")
    assert record.untied is True
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"]["lm_head.weight"] == index["weight_map"]["model.embed_tokens.weight"]
    merged = BaseModel.open(tmp_path / "out")
    assert index["metadata"]["total_size"] == sum(info.nbytes for info in merged.tensors.values())
    before, after = tensors_of(folder), tensors_of(tmp_path / "out")
    factors = tensors_of(lora)
    a, b = (factors[f"base_model.model.lm_head.lora_{part}.weight"] for part in "AB")
    embedding = before["model.embed_tokens.weight"]
    assert (after["model.embed_tokens.weight"] == embedding).all()
    assert (after["lm_head.weight"] == (embedding.float() + 2.0 * (b @ a)).bfloat16()).all()


def test_a_tied_head_stays_tied_when_the_adapter_leaves_it_alone(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(tied=True)
    record = merge(adapter(folder), folder, tmp_path / "out")
    assert record.untied is False
    assert "lm_head.weight" not in tensors_of(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_a_saved_copy_of_a_tied_head_that_differs_from_the_base_is_refused(
    base: Make, adapter: Make, tmp_path: Path
) -> None:
    lora = adapter(base(tied=True), targets=["q_proj", "lm_head"])
    with pytest.raises(AdapterError, match=r"saved 'base_model\.model\.lm_head\.base_layer\.weight' with other values"):
        merge(lora, base(tied=True, seed=1), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_float16_that_overflows_is_refused_by_name(base: Make, adapter: Make, tmp_path: Path) -> None:
    lora = adapter(base(), targets=["down_proj"], scale=1e6)
    with pytest.raises(AdapterError, match=r"'model\.layers\.0\.mlp\.down_proj\.weight' overflows F16"):
        merge(lora, base(dtype="float16"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_overflows_is_said_as_one_line_and_not_as_a_warning_too(
    base: Make, adapter: Make, tmp_path: Path, dtype: str
) -> None:
    from safetensors.torch import save_file

    lora = Path(shutil.copytree(adapter(base()), tmp_path / "lora"))
    huge = {name: value * 0 + 1e30 for name, value in tensors_of(lora).items()}
    save_file(huge, lora / "adapter_model.safetensors", {"format": "pt"})
    process = run_merge(lora, base(dtype=dtype), tmp_path / "out")
    _, stderr = process.communicate()
    assert process.returncode == 2
    (line,) = stderr.splitlines()
    assert json.loads(line)["error"]["message"].endswith(
        {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[dtype]
    )
    assert not (tmp_path / "out").exists()


def test_progress_counts_bytes_up_to_the_size_of_the_weights(base: Make, adapter: Make, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    merge(adapter(base()), base(), tmp_path / "out", lambda done, total: seen.append((done, total)))
    size = (base() / "model.safetensors").stat().st_size
    assert {total for _, total in seen} == {size}
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_killed_merge_leaves_no_result_and_the_next_one_cleans_up(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(**BIG)
    lora = adapter(folder)
    process = run_merge(lora, folder, tmp_path / "out")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert 0 < first["done"] < first["total"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".out.")
    assert leftover.name.endswith(".partial")
    os.utime(leftover, (0, 0))
    merge(lora, folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_prints_progress_lines_and_the_record_last(base: Make, adapter: Make, tmp_path: Path) -> None:
    process = run_merge(adapter(base()), base(), tmp_path / "out")
    stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    *progress, record = map(json.loads, stdout.splitlines())
    assert all(line.keys() == {"done", "total"} for line in progress)
    assert progress[-1]["done"] == progress[-1]["total"]
    assert record == written_record(tmp_path / "out")


def test_the_command_says_an_error_as_one_json_line_and_exits_2(base: Make, adapter: Make, tmp_path: Path) -> None:
    process = run_merge(adapter(base()), base(hidden=128), tmp_path / "out")
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (2, "")
    (line,) = stderr.splitlines()
    error = json.loads(line)["error"]
    assert error["message"].startswith("'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight': the adapter")
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_far_below_the_bases_size(base: Make, adapter: Make, tmp_path: Path) -> None:
    """What the merge adds to torch itself, in a process of its own; its parent is small, as it inherits that peak."""
    folder = base(**BIG)
    size = (folder / "model.safetensors").stat().st_size
    code = (
        "import resource, sys, torch; from pathlib import Path; from firectl.lora.merge.merge import merge\n"
        "torch.ones(256, 256) @ torch.ones(256, 256)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "merge(*map(Path, sys.argv[1:]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    small = "import subprocess, sys; raise SystemExit(subprocess.call([sys.executable, '-c', *sys.argv[1:]]))"
    grown = subprocess.run(
        [sys.executable, "-c", small, code, adapter(folder), folder, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert size > 140e6
    assert 0 < int(grown.stdout) * (1 if sys.platform == "darwin" else 1024) < 0.6 * size


def test_a_place_inside_an_earlier_result_is_refused(base: Make, adapter: Make, tmp_path: Path) -> None:
    merge(adapter(base()), base(), tmp_path / "out")
    with pytest.raises(AdapterError, match=r"is inside .*out, the result of a merge"):
        merge(adapter(base()), base(), tmp_path / "out" / "deeper" / "again")
    assert not (tmp_path / "out" / "deeper").exists()


def test_a_disk_that_does_not_take_what_was_written_fails_the_merge(tmp_path: Path) -> None:
    """A descriptor of no file: the kernel refuses to flush it, as it does after a write that failed."""
    reader, writer = os.pipe()

    def write_on() -> None:
        with open(writer, "wb", buffering=0) as file, Flusher() as flusher:
            while True:
                flusher.wrote(file, FLUSH)

    with pytest.raises(OSError, match="Invalid argument"):
        write_on()
    os.close(reader)


def test_names_that_an_old_peft_wrote_give_the_same_merge(good: Path, base: Make, tmp_path: Path) -> None:
    merge(good, base(), tmp_path / "new")
    tensors(renamed(".weight", ".default.weight"))(good)
    merge(good, base(), tmp_path / "old")
    weights = [(tmp_path / age / "model.safetensors").read_bytes() for age in ("new", "old")]
    assert weights[0] == weights[1]
