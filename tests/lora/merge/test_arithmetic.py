"""The numbers of a merge: those of the formula in float32, bit for bit where the base is float32."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firectl.lora.merge import arithmetic
from firectl.lora.merge.arithmetic import Product
from firectl.lora.merge.merge import merge
from tests import tiny
from tests.lora.conftest import Make
from tests.lora.merge.results import assert_bit_equal, reference


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_every_bit_is_that_of_the_formula_in_float32(
    base: Make, adapter: Make, tmp_path: Path, dtype: str, stored: str
) -> None:
    folder = base(dtype=dtype, shards=3)
    lora = adapter(base(), r=16, alpha=24, dtype=stored)
    merge(lora, folder, tmp_path / "out")
    assert_bit_equal(tmp_path / "out", reference(folder, lora, 24 / 16))


@pytest.mark.parametrize("rank", [4, 16, 64, 128, 300])
def test_a_float32_base_has_torchs_bits_at_every_rank(base: Make, adapter: Make, tmp_path: Path, rank: int) -> None:
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


SPECIAL = [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -65504.0, 3.3e38, 1e-40, math.inf, -math.inf]
"""Ties to the even neighbour below and above, a hair above a tie, the largest numbers and a subnormal one."""


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_numbers_are_rounded_and_widened_as_torch_does_it(dtype: str) -> None:
    import torch

    values = np.array([*SPECIAL, *np.random.default_rng(0).standard_normal(1000)], np.float32)
    rounded = arithmetic.rounded(values.copy(), dtype)
    expected = torch.from_numpy(values).to(
        getattr(torch, {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype])
    )
    assert rounded.tobytes() == expected.view(torch.uint8).numpy().tobytes()
    again = arithmetic.stored(rounded.tobytes(), dtype, values.shape)
    assert np.array_equal(arithmetic.float32(again, dtype), expected.float().numpy())


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize(
    ("value", "finite"), [(math.nan, False), (math.inf, False), (-math.inf, False), (65504.0, True)]
)
def test_nan_and_infinity_are_seen_in_every_dtype(dtype: str, value: float, finite: bool) -> None:
    array = arithmetic.rounded(np.array([1.0, value], np.float32), dtype)
    assert arithmetic.is_finite(array, dtype) is finite


@pytest.mark.parametrize("rank", [1, 16, 128])
def test_the_product_in_order_has_torchs_bits_and_at_gives_some_of_its_numbers(rank: int) -> None:
    import torch

    random = np.random.default_rng(rank)
    a, b = (random.standard_normal(shape).astype("f4") for shape in ((rank, 160), (192, rank)))
    product = Product.of(a, b, 0.3, transposed=False)
    out = np.empty((192, 160), np.float32)
    product.rows(0, 192, out, arithmetic.in_order)
    assert np.array_equal(out, (torch.from_numpy(b) @ torch.from_numpy(a) * 0.3).numpy())
    rows, columns = np.array([0, 7, 191]), np.array([159, 3, 0])
    assert np.array_equal(product.at(rows, columns), out[rows, columns])
    assert np.abs(out).max() <= product.largest * (1 + 1e-6)


def test_a_power_of_two_is_multiplied_into_a_factor_and_another_number_is_not() -> None:
    a, b = np.ones((2, 3), np.float32), np.ones((4, 2), np.float32)
    exact, other = (Product.of(a, b, factor, transposed=False) for factor in (0.25, 0.3))
    assert (exact.factor, exact.left.max()) == (1.0, 0.25)
    assert (other.factor, other.left.max()) == (0.3, 1.0)
    assert Product.of(a, b, 1.0, transposed=True).left.shape == (3, 2)


def test_the_norm_of_a_sum_of_changes_is_known_without_the_changes() -> None:
    random = np.random.default_rng(1)
    products = [
        Product.of(random.standard_normal((4, 30)), random.standard_normal((20, 4)), factor, transposed=False)
        for factor in (0.7, -0.3)
    ]
    whole = sum(product.factor * (product.left @ product.right) for product in products)
    assert arithmetic.norm_of(products) == pytest.approx(np.linalg.norm(whole))


def test_torch_is_used_only_for_much_work_or_a_high_rank() -> None:
    few, much = arithmetic.WORTH_TORCH, arithmetic.WORTH_TORCH + 1
    assert arithmetic.exact(few, arithmetic.ONE_PANEL) is arithmetic.in_order
    assert arithmetic.exact(much, 1) is arithmetic.exact(few, arithmetic.ONE_PANEL + 1) is arithmetic.by_torch


@pytest.mark.parametrize("transposed", [False, True])
def test_dora_gives_each_output_its_length(transposed: bool) -> None:
    values = np.random.default_rng(2).standard_normal((6, 6)).astype("f4")
    magnitude = np.arange(1, 7, dtype=np.float32)
    arithmetic.scale_to(values, magnitude, transposed=transposed)
    assert np.linalg.norm(values, axis=0 if transposed else 1) == pytest.approx(magnitude)


def test_numbers_near_zero_are_found_by_place() -> None:
    values = np.array([[0.5, -0.1], [0.0, 3.0]], np.float32)
    assert arithmetic.below(values, 0.2, np.empty_like(values)).tolist() == [1, 2]
