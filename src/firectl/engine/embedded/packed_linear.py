"""A linear layer whose weight lies as the processor likes to read it.

What a step of few rows takes is the reading of the weights, so they are kept as small as they are: a 16-bit
checkpoint that is computed in float32 stays in 16 bits and is widened inside the product. Must not know what the layer
is for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

_ROWS = 64
"""The row count oneDNN's layout is chosen for; any other works with it too."""
_LOST = 2.0**-25
"""How far a weight may be off as float16: half a step of its smallest numbers."""
_LARGEST = 2.0**-8
"""The largest weight of a layer is at least this: else what is lost is no longer small beside float32's rounding."""


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
            return torch.ops.quantized.linear_dynamic_fp16(x, self._halves)  # type: ignore[no-any-return]
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]
        return F.linear(x, self._weight, self._bias)


def _as_halves(weight: torch.Tensor, bias: torch.Tensor | None) -> object | None:
    """The weight in FBGEMM's float16 layout; None where that would lose something, or there is no such product.

    The product widens each weight to float32 and sums in float32. A bfloat16's eight bits fit float16's eleven: only
    what is smaller than 2**-17 may be off, by 2**-25 at most, which is less than the sum's own rounding.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() == 0:
        return None
    off = (weight - weight.half().float()).abs().max()  # NaN or infinite where the weight is not a float16 at all
    if not bool(off <= _LOST) or not bool(weight.abs().max() >= _LARGEST):
        return None
    try:
        with torch.inference_mode(False), torch.no_grad():
            packed: object = torch.ops.quantized.linear_prepack_fp16(weight.clone(), bias)
    except (RuntimeError, AttributeError):
        return None
    return packed


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
