"""A linear layer whose weight lies as the processor likes to read it.

On a CPU oneDNN's own layout makes a product of a few rows nearly twice as fast as torch's row-major one, and there is
one copy of the weight. Must not know what the layer is for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

_ROWS = 64
"""The row count the layout is chosen for; any other works with it too."""


class PackedLinear:
    """`x @ weight.T + bias` for x [rows, in]; `weight` [out, in] is taken over."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.features = (weight.shape[1], weight.shape[0])
        """In and out."""
        self._bias = bias
        packed = _packed(weight)
        self._packed = packed is not None
        self._weight = weight if packed is None else packed

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]
        return F.linear(x, self._weight, self._bias)


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
