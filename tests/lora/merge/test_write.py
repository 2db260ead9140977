"""The files of a result: the same folder with other weights, written with little memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firectl.lora.merge.merge import merge
from firectl.lora.merge.plan import Weighted, plan_merge
from firectl.lora.merge.write import MergeWriter
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.hashing import file_hash
from firectl.lora.read.safetensors import read_header
from tests.lora.conftest import Make
from tests.lora.merge.results import BIG


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


def test_an_adapter_of_zeros_gives_the_base_back_and_the_record_says_so(
    base: Make, adapter: Make, tmp_path: Path
) -> None:
    record = merge(adapter(base(), scale=0.0), base(), tmp_path / "out")
    assert (record.tensors_changed, record.delta_norm) == (0, 0.0)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (base() / "model.safetensors").read_bytes()


def test_progress_counts_bytes_up_to_the_size_of_the_weights(base: Make, adapter: Make, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    merge(adapter(base()), base(), tmp_path / "out", lambda done, total: seen.append((done, total)))
    size = (base() / "model.safetensors").stat().st_size
    assert {total for _, total in seen} == {size}
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


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


def test_a_writer_knows_what_it_changed_and_the_hash_of_each_file(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(shards=2)
    opened, lora = BaseModel.open(folder), Adapter.open(adapter(base(), targets=["q_proj"]))
    (tmp_path / "out").mkdir()
    writer = MergeWriter(opened, plan_merge([Weighted(lora, 1.0)], opened), tmp_path / "out", None)
    writer.write()
    assert writer.changed == writer.norms.keys() == {f"model.layers.{n}.self_attn.q_proj.weight" for n in (0, 1)}
    assert writer.hashes == {path.name: file_hash(path) for path in (tmp_path / "out").iterdir()}
