"""Load an adapter's tensors as torch tensors, for an engine that applies several adapters at once.

Reads byte ranges, runs no code of the files, and never applies an adapter.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from firectl.errors import AdapterError
from firectl.lora.check.fit import require_fit
from firectl.lora.check.rules import merge_only
from firectl.lora.check.values import require_finite
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.safetensors import TensorInfo, read_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device
    from torch import dtype as Dtype


DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""dtype of safetensors → torch's name."""


class Factors(NamedTuple):
    """The change of one module's output: scaling · (x·a)·b for x [..., in]. This layout makes products fast."""

    a: Tensor
    """[in, rank]: the transpose of lora_A."""
    b: Tensor
    """[rank, out]: the transpose of lora_B."""
    scaling: float


def load_weights(
    adapter: Path | Adapter,
    base: BaseModel | None = None,
    dtype: Dtype | str | None = None,
    device: Device | None = None,
) -> dict[str, Factors]:
    """Return module name → factors of a LoRA in `dtype` (torch's dtype or its name; None: as stored).

    The factors are copies and do not change with the files. AdapterError if the adapter does not fit `base`, has NaN or
    infinity, or has parts that only a merge can apply.
    """
    opened = adapter if isinstance(adapter, Adapter) else Adapter.open(adapter)
    if blocked := merge_only(opened):
        details = [finding.to_document() for finding in blocked]
        raise AdapterError(f"{blocked[0].where}: {blocked[0].what}", hint=blocked[0].todo, details=details)
    if base is not None:
        require_fit(opened, base)
    wanted = torch_dtype(dtype) if isinstance(dtype, str) else dtype
    found = _in_one_block(opened, wanted, device) or _one_by_one(opened, wanted, device)
    return {
        name: Factors(found[pair.a.name].t(), found[pair.b.name].t(), pair.scaling)
        for name, pair in opened.modules.items()
    }


def _in_one_block(adapter: Adapter, dtype: Dtype | None, device: Device | None) -> dict[str, Tensor] | None:
    """Read all tensors as views of one block: one read, one NaN check, one conversion. None if dtypes differ.

    With many small reads, the thread would wait for the interpreter's lock at each one in a running engine.
    """
    import torch

    infos = list(adapter.tensors.values())  # in the order of their bytes, without gaps
    if len({info.dtype for info in infos}) != 1:
        return None
    start = infos[0].start
    block = read_tensor(replace(infos[-1], start=start, shape=(sum(info.numel for info in infos),)))
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(block)):
        require_finite(adapter)  # names the tensor
    size = block.element_size()
    block = block.to(device=device, dtype=dtype)
    return {
        info.name: block[(info.start - start) // size : (info.end - start) // size].view(info.shape) for info in infos
    }


def _one_by_one(adapter: Adapter, dtype: Dtype | None, device: Device | None) -> dict[str, Tensor]:
    require_finite(adapter)
    return {name: read_tensor(info).to(device=device, dtype=dtype) for name, info in adapter.tensors.items()}


def torch_dtype(name: str) -> Dtype:
    """Return torch's dtype for `F32`, `F16`, `BF16` or torch's own name."""
    import torch

    found = getattr(torch, DTYPES.get(name, name))
    assert isinstance(found, torch.dtype)
    return found


def read_tensor(info: TensorInfo) -> Tensor:
    """Read a tensor's values from its file, in the stored dtype."""
    import torch

    if info.numel == 0:
        return torch.empty(info.shape, dtype=torch_dtype(info.dtype))
    return torch.frombuffer(read_bytes(info), dtype=torch_dtype(info.dtype)).view(info.shape)
