"""The tensors behind the slots: one pair of keys and values per slab and layer.

Must not decide who gets a slot (kv_slots.py) nor what is attended to (attention.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from firectl.engine.schedule.kv_slots import Create, Drop, Move, Operation, Wipe

LayerKV = tuple[torch.Tensor, torch.Tensor]
"""Keys [slots, kv heads, capacity, head size] and values alike."""


class KVStore:
    """Memory is taken layer by layer when first written; on a CPU its pages are only really used once touched."""

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
        """The slab's tensors of one layer; `keys` and `values` [., heads, ., size] say what they look like."""
        layers = self._slabs[slab]
        if layer not in layers:
            slots, capacity = self._shapes[slab]
            # Zeros, because a masked position still takes part in the product: 0 * NaN is NaN.
            layers[layer] = (
                keys.new_zeros((slots, keys.shape[1], capacity, keys.shape[3])),
                values.new_zeros((slots, values.shape[1], capacity, values.shape[3])),
            )
        return layers[layer]

    @property
    def bytes_per_token(self) -> int:
        """Over all layers of the slab that has most of them; 0 before anything was written."""
        return max((sum(map(_token_bytes, slab.values())) for slab in self._slabs.values()), default=0)


def _token_bytes(layer: LayerKV) -> int:
    return sum(tensor.shape[1] * tensor.shape[3] * tensor.element_size() for tensor in layer)
