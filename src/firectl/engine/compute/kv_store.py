"""Store keys and values in tensors: one pair of tensors per slab (block of KV memory) and layer.

Must not decide who gets a slot (schedule/kv_slots.py) or what is attended to (attention.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from firectl.engine.schedule.kv_slots import Create, Drop, Move, Operation, Wipe

LayerKV = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, each [slots, kv heads, capacity, head size]."""


class KVStore:
    """Allocates a layer's tensors at the first write. On a CPU, pages take memory only when they are written."""

    def __init__(self) -> None:
        self._shapes: dict[int, tuple[int, int]] = {}
        self._slabs: dict[int, dict[int, LayerKV]] = {}

    def apply(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            match operation:
                case Create(slab, slots, capacity):
                    self._shapes[slab] = (slots, capacity)
                    self._slabs[slab] = {}
                case Drop(slab):
                    del self._shapes[slab], self._slabs[slab]
                case Wipe(slot, length):
                    for layer in self._slabs[slot.slab].values():
                        for tensor in layer:
                            tensor[slot.index, :, :length] = 0
                case Move(source, target, length):
                    for number, layer in self._slabs[source.slab].items():
                        for old, new in zip(layer, self.layer(target.slab, number, *layer), strict=True):
                            new[target.index, :, :length] = old[source.index, :, :length]

    def layer(self, slab: int, layer: int, keys: torch.Tensor, values: torch.Tensor) -> LayerKV:
        """Return a slab's tensors for one layer. `keys` and `values` [., heads, ., size] give shape, dtype, device."""
        layers = self._slabs[slab]
        if layer not in layers:
            slots, capacity = self._shapes[slab]
            # Zeros, because a masked position still takes part in the product, and 0 * NaN is NaN.
            layers[layer] = (
                keys.new_zeros((slots, keys.shape[1], capacity, keys.shape[3])),
                values.new_zeros((slots, values.shape[1], capacity, values.shape[3])),
            )
        return layers[layer]

    @property
    def bytes_per_token(self) -> int:
        """Bytes per token, over all layers of the slab with the most layers; 0 before the first write."""
        return max((sum(map(_token_bytes, slab.values())) for slab in self._slabs.values()), default=0)


def _token_bytes(layer: LayerKV) -> int:
    return sum(tensor.shape[1] * tensor.shape[3] * tensor.element_size() for tensor in layer)
