"""LoRA inside a linear layer: the base's own product, then each adapter's delta on its own rows and no others.

Must not keep weights: they come with the batch, so that an adapter nobody uses any more is simply gone.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from firectl.engine.compute.attention import PackedStep
from firectl.engine.schedule.adapter import EngineAdapter, require_shapes


class LoraForward:
    """Stands in for the `forward` of one Linear or Conv1D; rows without an adapter keep the base's bits."""

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
    """Which of a model's layers can carry LoRA, and which already do."""

    def __init__(self, model: nn.Module, step: PackedStep) -> None:
        head = model.get_output_embeddings()  # type: ignore[operator]
        # Not the output layer: it sees the sampled rows alone, and the service takes no adapters of it here either.
        self._modules = {
            name: module for name, module in model.named_modules() if module is not head and _shape(module) is not None
        }
        self._step = step
        self._carrying: set[str] = set()

    def check(self, adapter: EngineAdapter) -> None:
        """AdapterError unless every module of the adapter is a layer of this model, and of its shape."""
        require_shapes(adapter, lambda name: _shape(self._modules[name]) if name in self._modules else None)

    def carry(self, names: Iterable[str]) -> None:
        """Make these layers apply adapters. Between steps only."""
        for name in names:
            if name not in self._carrying:
                module = self._modules[name]
                module.forward = LoraForward(module, name, self._step)
                self._carrying.add(name)


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """Features in and out of a layer that LoRA applies to, else None."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    return None
