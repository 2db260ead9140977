"""A packed weight gives the product of the plain weight, with the same bits for any number of rows."""

from __future__ import annotations

import pytest
import torch

from firectl.engine.compute.packed_linear import PackedLinear


def test_a_sixteen_bit_weight_is_widened_in_the_product_and_nothing_is_lost() -> None:
    torch.manual_seed(1)
    weight = (0.02 * torch.randn(96, 64)).bfloat16().float()
    x = torch.randn(260, 64)
    exact = x.double() @ weight.double().t()
    rounding = ((x @ weight.t()).double() - exact).abs().max()
    layer = PackedLinear(weight.clone())
    assert (layer(x).double() - exact).abs().max() < 4 * rounding
    assert all(torch.equal(layer(x[:rows]), layer(x)[:rows]) for rows in range(1, 261))
    full = torch.randn(96, 64)  # all 24 bits of a float32 count
    assert torch.allclose(PackedLinear(full.clone())(x), x @ full.t(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1e6, 1e-7])
def test_a_sixteen_bit_weight_beyond_what_float16_holds_is_computed_as_it_is(size: float) -> None:
    torch.manual_seed(1)
    weight, x = (size * torch.randn(96, 64)).bfloat16().float(), torch.randn(5, 64)
    assert torch.allclose(PackedLinear(weight.clone())(x), x @ weight.t(), rtol=1e-5, atol=size * 1e-5)
