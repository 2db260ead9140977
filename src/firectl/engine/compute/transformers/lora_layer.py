"""Apply LoRA inside a linear layer: compute the base's product, then add each adapter's change to its rows.

Must not keep weights: each batch brings them, so that an unused adapter can be freed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from firectl.engine.compute.attention import PackedStep
from firectl.engine.schedule.adapter import EngineAdapter, require_shapes


class LoraForward:
    """Replaces the `forward` of one Linear or Conv1D. Rows without an adapter keep the bits of the base."""

    def __init__(self, module: nn.Module, name: str, step: PackedStep) -> None:
        self._base = module.forward
        self._name = name
        self._step = step

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self._base(x)
        adapters = self._step.current.adapters
        if not adapters:
            return y
        rows_in = x.reshape(-1, x.shape[-1])
        rows_out = y.view(-1, y.shape[-1])
        for adapter, first, last in adapters:
            weights = adapter.modules.get(self._name)
            if weights is not None:
                rows_out[first:last].addmm_(rows_in[first:last] @ weights.a, weights.b, alpha=weights.scaling)
        return y


class LoraLayers:
    """The layers of a model that can apply LoRA. A layer is changed when the first adapter needs it."""

    def __init__(self, model: nn.Module, step: PackedStep) -> None:
        head = model.get_output_embeddings()  # type: ignore[operator]
        # Without the output layer: it computes only sampled rows, and the service accepts no adapter of it here.
        self._modules = {
            name: module for name, module in model.named_modules() if module is not head and _shape(module) is not None
        }
        self._step = step
        self._carried: weakref.WeakSet[EngineAdapter] = weakref.WeakSet()

    def check(self, adapter: EngineAdapter) -> None:
        """Raise AdapterError unless every module of the adapter is in this model with the same shape."""
        require_shapes(adapter, lambda name: _shape(self._modules[name]) if name in self._modules else None)

    def carry(self, adapters: Iterable[EngineAdapter]) -> None:
        """Make the layers that these adapters change apply LoRA. Call it only between steps."""
        for adapter in adapters:
            for name in adapter.modules if adapter not in self._carried else ():
                module = self._modules[name]
                if not isinstance(module.forward, LoraForward):
                    module.forward = LoraForward(module, name, self._step)
            self._carried.add(adapter)


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """Return the features in and out of a layer that LoRA can change, else None."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    return None
