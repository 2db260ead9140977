"""A linear layer whose weight lies as the processor likes to read it.

What a step of few rows takes is the reading of the weights, so they are kept as small as they are: a 16-bit
checkpoint that is computed in float32 stays in 16 bits and is widened inside the product. Must not know what the layer
is for.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F

_ROWS = 64
"""The row count oneDNN's layout is chosen for; any other works with it too."""
_LOST = 2.0**-22
"""How much of a layer's weights float16 may lose, as a share of their length: no more than summing them in float32."""
_COMMON = 24
"""Rows of a product whose bits the others must have."""


class PackedLinear:
    """`x @ weight.T + bias` for x [rows, in]; `weight` [out, in] is taken over.

    A row's bits do not depend on how many rows it is computed with.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.features = (weight.shape[1], weight.shape[0])
        """In and out."""
        self._bias = bias
        self._halves = _as_halves(weight, bias)
        packed = _packed(weight) if self._halves is None else None
        self._packed = packed is not None
        self._weight = weight if packed is None else packed
        if self._halves is not None:
            self._weight = weight.new_empty(0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._halves is not None:
            rows = x.shape[0]
            steady = self.steady(rows)
            if steady == rows:
                return torch.ops.quantized.linear_dynamic_fp16(x, self._halves)  # type: ignore[no-any-return]
            padded = F.pad(x, (0, 0, 0, steady - rows))
            return torch.ops.quantized.linear_dynamic_fp16(padded, self._halves)[:rows]  # type: ignore[no-any-return]
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]
        return F.linear(x, self._weight, self._bias)

    def steady(self, rows: int) -> int:
        """How many rows are computed for so many. Whoever has several products of them can add those rows once."""
        return rows if self._halves is None else _steady(rows) or rows


def _as_halves(weight: torch.Tensor, bias: torch.Tensor | None) -> object | None:
    """The weight in FBGEMM's float16 layout; None where that would lose something, or there is no such product.

    The product widens each weight to float32 and sums in float32. A bfloat16's eight bits fit float16's eleven, so what
    is lost is what is too small for a float16's exponent, below 2**-16: next to nothing of a usual layer.
    The numbers decide, not the checkpoint's type: weights that use float32's bits lose 2**-12, and stay as they are.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() == 0:
        return None
    # Infinite where a weight is beyond float16, and not a number where it was none before: neither is at most anything.
    lost = torch.linalg.vector_norm(weight - weight.half().float())
    if not bool(lost <= _LOST * torch.linalg.vector_norm(weight)):
        return None
    try:
        if not all(map(_steady, range(1, 65))):
            return None
        with torch.inference_mode(False), torch.no_grad():
            packed: object = torch.ops.quantized.linear_prepack_fp16(weight.clone(), bias)
    except (RuntimeError, AttributeError):
        return None
    return packed


@functools.cache
def _steady(rows: int) -> int | None:
    """How many rows to compute in place of so many, that each has the bits it has in any other number; None if unknown.

    FBGEMM cuts the rows into tiles and sums in another order in the smallest of them. Which those are depends on the
    processor, so it is tried: rows that are all alike must all come out alike.
    """
    weight, x, common = _trial()
    for more in range(rows, rows + 8):
        if bool((torch.ops.quantized.linear_dynamic_fp16(x.expand(more, -1).contiguous(), weight) == common).all()):
            return more
    return None


@functools.cache
def _trial() -> tuple[object, torch.Tensor, torch.Tensor]:
    """A packed weight, one row, and what the row comes to among others."""
    with torch.inference_mode(False), torch.no_grad():
        numbers = torch.Generator().manual_seed(0)
        weight = torch.randn((64, 512), generator=numbers).bfloat16().float()
        packed: object = torch.ops.quantized.linear_prepack_fp16(weight, None)
        x = torch.randn((1, 512), generator=numbers)
        common = torch.ops.quantized.linear_dynamic_fp16(x.expand(_COMMON, -1).contiguous(), packed)[:1]
    return packed, x, common


def _packed(weight: torch.Tensor) -> torch.Tensor | None:
    """The weight in oneDNN's layout; None where there is none for this device, dtype or build of torch."""
    if weight.device.type != "cpu":
        return None
    try:
        with torch.inference_mode(False), torch.no_grad():
            packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.clone(), _ROWS)
    except (RuntimeError, AttributeError):
        return None
    return packed
