"""The formulas of a merge, in float32, for one weight at a time. Knows tensors, nothing of files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from firectl.lora.safetensors import TensorInfo, read_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from torch import dtype as Dtype

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""safetensors' names → torch's."""


def torch_dtype(name: str) -> Dtype:
    """torch's dtype for `F32`, `F16`, `BF16` or for torch's own name of one."""
    import torch

    found = getattr(torch, DTYPES.get(name, name))
    assert isinstance(found, torch.dtype)
    return found


def read_tensor(info: TensorInfo) -> Tensor:
    """A tensor's values from its file, in their stored dtype."""
    import torch

    if info.numel == 0:
        return torch.empty(info.shape, dtype=torch_dtype(info.dtype))
    return torch.frombuffer(read_bytes(info), dtype=torch_dtype(info.dtype)).view(info.shape)


def delta(a: Tensor, b: Tensor, scaling: float, *, transposed: bool = False) -> Tensor:
    """scaling · (B·A) in float32, [out, in]; its transpose, [in, out], if `transposed`.

    The product is rounded to float32 first, then multiplied by the scaling: `s * (B.float() @ A.float())`.
    """
    import torch

    change = torch.matmul(b.float(), a.float()).mul_(scaling)
    return change.t().contiguous() if transposed else change


def delta_norm(a: Tensor, b: Tensor, scaling: float) -> float:
    """The Frobenius norm of scaling · B·A, from the rank × rank products alone, in float64."""
    import torch

    left = b.double().t() @ b.double()
    right = a.double() @ a.double().t()
    return abs(scaling) * math.sqrt(max(0.0, float(torch.sum(left * right.t()))))


def merged(
    weight: Tensor, a: Tensor, b: Tensor, scaling: float, *, transposed: bool, magnitude: Tensor | None = None
) -> Tensor:
    """W + scaling·B·A in float32, in W's dtype. `transposed`: W is [in, out]; `magnitude`: DoRA's, [out]."""
    import torch

    changed = delta(a, b, scaling, transposed=transposed).add_(weight)
    if magnitude is not None:
        # DoRA scales each output's row to its learnt length.
        outputs = 0 if transposed else 1
        factor = magnitude.float() / torch.linalg.vector_norm(changed, dim=outputs)
        changed.mul_(factor.unsqueeze(outputs))
    return changed.to(weight.dtype)


def merged_bias(bias: Tensor, b_bias: Tensor, scaling: float) -> Tensor:
    """bias + scaling·b in float32, in the bias's dtype."""
    return (bias.float() + scaling * b_bias.float()).to(bias.dtype)


def is_finite(tensor: Tensor) -> bool:
    """No NaN and no infinity."""
    import torch

    return bool(torch.isfinite(tensor).all())


def raw_bytes(tensor: Tensor) -> bytearray:
    """The tensor's values as they stand in a file."""
    import torch

    data = bytearray(tensor.numel() * tensor.element_size())
    if data:
        torch.frombuffer(data, dtype=tensor.dtype).view(tensor.shape).copy_(tensor)
    return data
