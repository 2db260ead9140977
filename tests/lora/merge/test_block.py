"""Blocks of rows have the bits of the whole matrix, and bytes are written and copied completely."""

from __future__ import annotations

import os
import shutil
from io import FileIO
from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.merge import arithmetic
from firectl.lora.merge.block import BLOCK, Operands, copy_range, reserve, write_all
from firectl.lora.merge.merge import merge
from firectl.lora.merge.plan import Weighted, plan_merge
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from tests.lora.conftest import Make
from tests.lora.merge.results import BIG, assert_bit_equal, reference, tensors_of


def test_a_matrix_of_several_blocks_has_the_bits_of_the_whole(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(**BIG)
    lora = adapter(folder)
    merge(lora, folder, tmp_path / "out")
    expected = reference(folder, lora, 2.0)
    assert max(value.numel() for value in expected.values()) > BLOCK
    assert_bit_equal(tmp_path / "out", expected)


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


def test_float16_that_overflows_is_refused_by_name(base: Make, adapter: Make, tmp_path: Path) -> None:
    lora = adapter(base(), targets=["down_proj"], scale=1e6)
    with pytest.raises(AdapterError, match=r"'model\.layers\.0\.mlp\.down_proj\.weight' overflows F16"):
        merge(lora, base(dtype="float16"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_blocks_cover_every_row_once_and_are_about_equally_high(base: Make, adapter: Make) -> None:
    folder = base(**BIG)
    edits = plan_merge([Weighted(Adapter.open(adapter(folder)), 1.0)], BaseModel.open(folder)).edits
    edit = edits["model.layers.0.mlp.up_proj.weight"]
    blocks = list(Operands.load(edit, arithmetic.in_order).blocks())
    assert len(blocks) > 1
    assert [first for first, _ in blocks] == [sum(count for _, count in blocks[:place]) for place in range(len(blocks))]
    assert sum(count for _, count in blocks) == edit.source.shape[0]
    assert max(count for _, count in blocks) * edit.source.shape[1] <= BLOCK


def test_a_range_is_copied_to_its_place_and_a_source_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(range(256)) * 8192)
    with FileIO(tmp_path / "source") as source, FileIO(tmp_path / "target", "x+") as target:
        reserve(target.fileno(), 2**20)
        assert os.fstat(target.fileno()).st_size == 2**20
        assert write_all(target.fileno(), b"head", 0) == 4
        assert copy_range(source.fileno(), 1, target.fileno(), 4, 2**20 - 4) == 2**20 - 4
        assert (tmp_path / "target").read_bytes() == b"head" + (tmp_path / "source").read_bytes()[1 : 2**20 - 3]
        with pytest.raises(AdapterError, match="a shard of the base model became shorter"):
            copy_range(source.fileno(), 0, target.fileno(), 0, 2**22)
