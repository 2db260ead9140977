"""A linear layer with its weight in a layout that the processor reads fast.

A step of few rows mostly reads weights. So a 16-bit checkpoint that is computed in float32 keeps 16-bit weights, and
the product widens them. Must not depend on what the layer is for.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F

_ROWS = 64
"""oneDNN chooses the weight's layout for this number of rows; other numbers work too."""
_LOST = 2.0**-22
"""Share of a weight's norm that conversion to float16 may lose: no more than summing in float32 loses."""
_COMMON = 24
"""A number of rows whose results are the reference for all others."""


class PackedLinear:
    """`x @ weight.T + bias` for x [rows, in]; takes over `weight` [out, in].

    The bits of a row do not depend on the number of rows.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.features = (weight.shape[1], weight.shape[0])
        """(Number of inputs, number of outputs)."""
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
            steady = self.padded_rows(rows)
            if steady == rows:
                return torch.ops.quantized.linear_dynamic_fp16(x, self._halves)  # type: ignore[no-any-return]
            padded = F.pad(x, (0, 0, 0, steady - rows))
            return torch.ops.quantized.linear_dynamic_fp16(padded, self._halves)[:rows]  # type: ignore[no-any-return]
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]
        return F.linear(x, self._weight, self._bias)

    def padded_rows(self, rows: int) -> int:
        """Return how many rows are computed for `rows`. A caller with several products of these rows can pad once."""
        return rows if self._halves is None else _padded_rows(rows) or rows


def _as_halves(weight: torch.Tensor, bias: torch.Tensor | None) -> object | None:
    """Convert the weight to FBGEMM's float16 layout. None if that would lose precision or is not supported.

    The product widens each weight to float32 and sums in float32. bfloat16 has 8 bits of precision and float16 has 11,
    so only numbers below float16's exponent (2**-16) lose bits. The numbers decide, not the checkpoint's dtype: weights
    that use all bits of float32 lose 2**-12 and stay as they are.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() == 0:
        return None
    # The norm is infinite or NaN if a weight is too large for float16; the comparison is then false.
    lost = torch.linalg.vector_norm(weight - weight.half().float())
    if not bool(lost <= _LOST * torch.linalg.vector_norm(weight)):
        return None
    try:
        if not all(map(_padded_rows, range(1, 65))):
            return None
        with torch.inference_mode(False), torch.no_grad():
            packed: object = torch.ops.quantized.linear_prepack_fp16(weight.clone(), bias)
    except (RuntimeError, AttributeError):
        return None
    return packed


@functools.cache
def _padded_rows(rows: int) -> int | None:
    """Return how many rows to compute so that a row's bits do not depend on the number of rows; None if unknown.

    FBGEMM cuts the rows into tiles, and adds in another order in the smallest tiles. The tiles depend on the processor,
    so this function tries them: equal rows must give equal results.
    """
    weight, x, common = _trial()
    for more in range(rows, rows + 8):
        if bool((torch.ops.quantized.linear_dynamic_fp16(x.expand(more, -1).contiguous(), weight) == common).all()):
            return more
    return None


@functools.cache
def _trial() -> tuple[object, torch.Tensor, torch.Tensor]:
    """Return a packed weight, one row, and the result of that row when computed with others."""
    with torch.inference_mode(False), torch.no_grad():
        numbers = torch.Generator().manual_seed(0)
        weight = torch.randn((64, 512), generator=numbers).bfloat16().float()
        packed: object = torch.ops.quantized.linear_prepack_fp16(weight, None)
        x = torch.randn((1, 512), generator=numbers)
        common = torch.ops.quantized.linear_dynamic_fp16(x.expand(_COMMON, -1).contiguous(), packed)[:1]
    return packed, x, common


def _packed(weight: torch.Tensor) -> torch.Tensor | None:
    """Convert the weight to oneDNN's layout. None if the device, the dtype or torch does not support that."""
    if weight.device.type != "cpu":
        return None
    try:
        with torch.inference_mode(False), torch.no_grad():
            packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.clone(), _ROWS)
    except (RuntimeError, AttributeError):
        return None
    return packed
