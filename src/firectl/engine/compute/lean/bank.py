"""Keep the weights of several adapters side by side in one memory, so that one product can use several.

The bank is an array with a numbered place per adapter. A step copies an adapter into a place when it first needs
it, so the cost of a step depends only on the adapters that the step uses.
Must not depend on rows: deltas.py computes what a step adds.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from firectl.engine.compute.lean.config import LeanConfig
from firectl.engine.compute.lean.model import DOWN, GATE_UP, OUTPUT, QKV, Deltas
from firectl.engine.schedule.adapter import EngineAdapter, require_shapes

_PARTS = (QKV, OUTPUT, GATE_UP, DOWN)
_ROOM = 2**30
"""Largest size of the bank in bytes. A place takes memory only when an adapter is copied into it."""
_PLACES = 64
"""Largest number of places in the bank."""


@dataclass(frozen=True, slots=True)
class Module:
    """One linear module of the checkpoint, and the range of its outputs in the merged linear layer (part)."""

    name: str
    features_in: int
    start: int
    features_out: int

    @property
    def outputs(self) -> slice:
        return slice(self.start, self.start + self.features_out)


def modules_of(config: LeanConfig, layer: int, part: int) -> tuple[Module, ...]:
    """Return the checkpoint's modules that form one linear layer of the lean model, in the order of its outputs."""
    queries, keys = config.heads * config.head_size, config.kv_heads * config.head_size
    hidden, inner = config.hidden, config.intermediate
    outputs = {
        QKV: (hidden, (("self_attn.q_proj", queries), ("self_attn.k_proj", keys), ("self_attn.v_proj", keys))),
        OUTPUT: (queries, (("self_attn.o_proj", hidden),)),
        GATE_UP: (hidden, (("mlp.gate_proj", inner), ("mlp.up_proj", inner))),
        DOWN: (inner, (("mlp.down_proj", hidden),)),
    }
    features_in, named = outputs[part]
    modules, start = [], 0
    for name, features_out in named:
        modules.append(Module(f"model.layers.{layer}.{name}", features_in, start, features_out))
        start += features_out
    return tuple(modules)


class LoraBank:
    """Memory for several adapters, with one place for each.

    A place holds A [in, modules * rank] and B [modules * rank, out] for each linear layer. B is block-diagonal over the
    layer's modules, so that one pair of products computes all of them. B includes the scaling.
    """

    def __init__(self, config: LeanConfig, device: torch.device, dtype: torch.dtype, room: int = _ROOM) -> None:
        self._device, self._dtype, self._room = device, dtype, room
        self.layout = [[modules_of(config, layer, part) for part in _PARTS] for layer in range(config.layers)]
        self._modules = {module.name: module for layer in self.layout for part in layer for module in part}
        self.rank = 0
        """The rank for which every module has room in a place."""
        self._held: list[weakref.ref[EngineAdapter] | None] = []
        self._numbers = torch.empty((0, 0))
        """[places, numbers per adapter]. `a` and `b` are views of this tensor."""
        self.a: list[list[torch.Tensor]] = []
        """A by layer and part: [places, in, modules * rank]."""
        self.b: list[list[torch.Tensor]] = []
        """B by layer and part: [places, modules * rank, out]."""
        self.planned: tuple[object, Deltas] | None = None
        """The last plan of `deltas_of` and the rows it is for; None after any change of the bank."""

    @property
    def size(self) -> int:
        """Size of all places in bytes."""
        return self._numbers.nbytes

    def check(self, adapter: EngineAdapter) -> None:
        """Raise AdapterError unless every module of the adapter is in this model with the same shape."""
        shapes = {name: (module.features_in, module.features_out) for name, module in self._modules.items()}
        require_shapes(adapter, shapes.get)

    def place(self, adapters: Collection[EngineAdapter]) -> Mapping[EngineAdapter, int]:
        """Return the places of a step's adapters, near each other. Copies adapters into the bank if needed.

        The result is empty if the bank has no room for all of them.
        """
        if not adapters:
            return {}
        held = self._alive()
        rank = max(adapter.rank for adapter in (*adapters, *held))
        if rank != self.rank:
            self._arrange(rank)
            held = {}
        if len(adapters) > len(self._held):
            return {}
        places = {adapter: held[adapter] for adapter in adapters if adapter in held}
        near = self._near(sorted(places.values()), len(adapters))
        far = [adapter for adapter in adapters if places.get(adapter) not in near]
        if far:
            taken = set(places.values())
            # Use empty places first: an adapter that this step does not use may be needed again.
            free = sorted((place for place in near if place not in taken), key=lambda place: place in held.values())
            for adapter, place in zip(far, free, strict=False):
                if adapter in places:
                    self._move(places[adapter], place)
                else:
                    self._copy(adapter, place)
                places[adapter] = place
        return places

    def release(self) -> None:
        """Free the bank's memory if none of its adapters is loaded or in use any more."""
        if not self._alive():
            self.rank, self._held = 0, []
            self._clear()

    def _clear(self) -> None:
        self._numbers, self.a, self.b, self.planned = torch.empty((0, 0)), [], [], None

    def _alive(self) -> dict[EngineAdapter, int]:
        """Return adapter → place for adapters in the bank that are still loaded or in use."""
        found = {}
        for number, reference in enumerate(self._held):
            adapter = reference() if reference is not None else None
            if adapter is not None:
                found[adapter] = number
        return found

    def _near(self, places: list[int], count: int) -> range:
        """Choose a range of places for `count` adapters of one step, some of which already have one of `places`.

        A product reads all places from the first to the last, so few unused places should be between them.
        """
        room = min(count + max(2, count // 4), len(self._held))
        if not places:
            empty = next((number for number, reference in enumerate(self._held) if reference is None), 0)
            places = [empty]
        first = max(places, key=lambda first: sum(first <= place < first + room for place in places))
        first = min(first, len(self._held) - room)
        return range(first, first + room)

    def _arrange(self, rank: int) -> None:
        """Allocate as many empty places as fit for adapters of this rank."""
        shapes = [[_shapes(part, rank) for part in layer] for layer in self.layout]
        each = sum(numbers.numel() for layer in shapes for part in layer for numbers in part)
        places = min(_PLACES, self._room // (each * self._dtype.itemsize))
        self.rank, self._held = rank, [None] * places
        self._clear()  # frees the old memory first
        # Not zeros: a CPU allocates memory only when it is written, so a new bank delays no stream.
        self._numbers = torch.empty((places, each), device=self._device, dtype=self._dtype)
        at = 0

        def view(shape: torch.Size) -> torch.Tensor:
            nonlocal at
            at += shape.numel()
            return self._numbers[:, at - shape.numel() : at].view(places, *shape)

        for layer in shapes:
            pairs = [(view(a), view(b)) for a, b in layer]
            self.a.append([a for a, _ in pairs])
            self.b.append([b for _, b in pairs])

    def _copy(self, adapter: EngineAdapter, place: int) -> None:
        self.planned = None
        if self._held[place] is None or not self._fills(adapter):
            self._numbers[place].zero_()
        for a_parts, b_parts, layer in zip(self.a, self.b, self.layout, strict=True):
            for a, b, part in zip(a_parts, b_parts, layer, strict=True):
                for number, module in enumerate(part):
                    weights = adapter.modules.get(module.name)
                    if weights is None:
                        continue
                    ranks = slice(number * self.rank, number * self.rank + weights.a.shape[1])
                    a[place, :, ranks] = weights.a
                    torch.mul(weights.b, weights.scaling, out=b[place, ranks, module.outputs])
        self._held[place] = weakref.ref(adapter)

    def _fills(self, adapter: EngineAdapter) -> bool:
        """Whether a copy of the adapter overwrites every number of a place that can be non-zero."""
        modules = adapter.modules
        return len(modules) == len(self._modules) and all(
            weights.a.shape[1] == self.rank for weights in modules.values()
        )

    def _move(self, source: int, target: int) -> None:
        self.planned = None
        self._numbers[target] = self._numbers[source]
        self._held[source], self._held[target] = None, self._held[source]


def _shapes(part: tuple[Module, ...], rank: int) -> tuple[torch.Size, torch.Size]:
    """Return the shapes of A and B for one linear layer."""
    ranks = len(part) * rank
    return torch.Size((part[0].features_in, ranks)), torch.Size((ranks, part[-1].outputs.stop))
