"""Many adapters in one lean forward pass: the weights of those in use side by side, their deltas as few products.

The bank copies an adapter into one of its places when a step first has rows of it. So the cost of a step depends on
the adapters in it, not on those loaded; and an adapter that joins costs one copy, not a new arrangement of all. Where
the bank has no room, or one of the adapters reads a prompt, each is computed from its own weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from firectl.engine.embedded.adapter import EngineAdapter, require_shapes
from firectl.engine.embedded.lean_config import LeanConfig
from firectl.engine.embedded.lean_model import DOWN, GATE_UP, OUTPUT, QKV, Deltas
from firectl.engine.embedded.packing import AdapterRows, Batch

_PARTS = (QKV, OUTPUT, GATE_UP, DOWN)
_ROOM = 2**30
"""Bytes of the bank at most. They are really taken place by place, as adapters are copied in."""
_PLACES = 64
"""Of the bank at most."""
_WASTE = 2
"""Padding is worth the fewer calls up to this many times the rows."""


@dataclass(frozen=True, slots=True)
class Module:
    """One linear module of the checkpoint, and which outputs of its part are its own."""

    name: str
    features_in: int
    start: int
    features_out: int


def modules_of(config: LeanConfig, layer: int, part: int) -> tuple[Module, ...]:
    """The checkpoint's modules behind a linear layer of the lean model, in the order of its outputs."""
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
    """A place has, for every linear layer, A [modules * rank, in] and B [modules * rank, out].

    B is block-diagonal over the layer's modules, so that one pair of products serves them all; its scaling is in it.
    """

    def __init__(self, config: LeanConfig, device: torch.device, dtype: torch.dtype, room: int = _ROOM) -> None:
        self._device, self._dtype, self._room = device, dtype, room
        self._layout = [[modules_of(config, layer, part) for part in _PARTS] for layer in range(config.layers)]
        self._modules = {module.name: module for layer in self._layout for part in layer for module in part}
        self._rank = 0
        self._held: list[weakref.ref[EngineAdapter] | None] = []
        self.a: list[list[torch.Tensor]] = []
        """By layer and part: [places, modules * rank, in]."""
        self.b: list[list[torch.Tensor]] = []

    @property
    def size(self) -> int:
        """Bytes of all places."""
        return sum(tensor.nbytes for parts in (*self.a, *self.b) for tensor in parts)

    def check(self, adapter: EngineAdapter) -> None:
        """AdapterError unless every module of the adapter is a layer of this model, and of its shape."""
        shapes = {name: (module.features_in, module.features_out) for name, module in self._modules.items()}
        require_shapes(adapter, shapes.get)

    def place(self, adapters: Collection[EngineAdapter]) -> Mapping[EngineAdapter, int]:
        """Where each of a step's adapters lies; those that are not here yet are copied in.

        Empty where there is no room for all of them.
        """
        if not adapters:
            return {}
        rank = max(map(_rank, {*adapters, *self._alive()}))
        if rank != self._rank:
            self._arrange(rank)
        if len(adapters) > len(self._held):
            return {}
        held = self._alive()
        places = {adapter: held[adapter] for adapter in adapters if adapter in held}
        taken = set(places.values())
        # The lowest first: places in use stay side by side, so that one product reads them all.
        free = iter([number for number in range(len(self._held)) if number not in taken])
        for adapter in adapters:
            if adapter not in places:
                places[adapter] = next(free)
                self._copy(adapter, places[adapter])
        return places

    def release(self) -> None:
        """Give the memory back if none of the adapters in it is loaded any more."""
        if not self._alive():
            self._rank, self._held, self.a, self.b = 0, [], [], []

    def deltas(self, batch: Batch, places: Mapping[EngineAdapter, int]) -> Deltas:
        """What the batch's adapters add. They lie in `places`, in the order of which its rows lie; or nowhere."""
        touched = {module for adapter, _, _ in batch.adapters for module in adapter.modules}
        parts = [[any(module.name in touched for module in part) for part in layer] for layer in self._layout]
        if places:
            groups = [_Group(places[adapter], first, last) for adapter, first, last in batch.adapters]
            low, high = groups[0].place, groups[-1].place + 1
            longest = max(group.count for group in groups)
            rows = groups[-1].last - groups[0].first
            if (high - low) * longest == rows:
                return _Even(self, parts, groups[0].first, groups[-1].last, low, high)
            if (high - low) * longest <= _WASTE * rows:
                return _Padded(self, parts, groups, low, high, longest)
        return _OneByOne(self._layout, batch.adapters)

    def _alive(self) -> dict[EngineAdapter, int]:
        """Whose weights are in the bank, and where, of those that are still in use or loaded."""
        found = {}
        for number, reference in enumerate(self._held):
            adapter = reference() if reference is not None else None
            if adapter is not None:
                found[adapter] = number
        return found

    def _arrange(self, rank: int) -> None:
        """Room for adapters of this rank, as many as the bank may have; none of them is in it then."""
        each = sum(
            len(part) * rank * (part[0].features_in + part[-1].start + part[-1].features_out)
            for layer in self._layout
            for part in layer
        )
        places = min(_PLACES, self._room // (each * self._dtype.itemsize))
        self._rank, self._held = rank, [None] * places
        self.a, self.b = [], []  # before the new ones are there: the old ones' memory goes first
        for layer in self._layout:
            self.a.append([self._empty(places, len(part) * rank, part[0].features_in) for part in layer])
            self.b.append(
                [self._empty(places, len(part) * rank, part[-1].start + part[-1].features_out) for part in layer]
            )

    def _empty(self, *shape: int) -> torch.Tensor:
        # Not zeros: a CPU's memory is then taken as it is written, and a bank that begins stops no stream.
        return torch.empty(shape, device=self._device, dtype=self._dtype)

    def _copy(self, adapter: EngineAdapter, place: int) -> None:
        for a_parts, b_parts, layer in zip(self.a, self.b, self._layout, strict=True):
            for a_bank, b_bank, part in zip(a_parts, b_parts, layer, strict=True):
                a, b = a_bank[place], b_bank[place]
                a.zero_()
                b.zero_()
                for number, module in enumerate(part):
                    weights = adapter.modules.get(module.name)
                    if weights is None:
                        continue
                    ranks = slice(number * self._rank, number * self._rank + weights.a.shape[1])
                    a[ranks] = weights.a.t()
                    torch.mul(
                        weights.b,
                        weights.scaling,
                        out=b[ranks, module.start : module.start + module.features_out],
                    )
        self._held[place] = weakref.ref(adapter)


def _rank(adapter: EngineAdapter) -> int:
    return max(weights.a.shape[1] for weights in adapter.modules.values())


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of one adapter."""

    place: int
    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first


class _Even:
    """Every place from `low` to `high` has as many rows as the next: two products over views."""

    def __init__(self, bank: LoraBank, parts: list[list[bool]], first: int, last: int, low: int, high: int) -> None:
        self._bank, self._parts = bank, parts
        self._rows, self._places, self._groups = slice(first, last), slice(low, high), high - low

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        if self._parts[layer][part]:
            bank, groups = self._bank, self._groups
            rows = x[self._rows].view(groups, -1, x.shape[1])
            shrunk = torch.bmm(rows, bank.a[layer][part][self._places].transpose(1, 2))
            y[self._rows].view(groups, -1, y.shape[1]).baddbmm_(shrunk, bank.b[layer][part][self._places])


class _Padded:
    """As many rows for every place as the largest group has; what is computed for the others is dropped."""

    def __init__(
        self, bank: LoraBank, parts: list[list[bool]], groups: list[_Group], low: int, high: int, longest: int
    ) -> None:
        self._bank, self._parts = bank, parts
        self._rows, self._places = slice(groups[0].first, groups[-1].last), slice(low, high)
        self._groups = high - low
        take = [groups[0].first] * (self._groups * longest)
        back: list[int] = []
        for group in groups:
            start = (group.place - low) * longest
            take[start : start + group.count] = range(group.first, group.last)
            back += range(start, start + group.count)
        device = bank.a[0][0].device
        self._take, self._back = torch.tensor(take, device=device), torch.tensor(back, device=device)

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        if self._parts[layer][part]:
            rows = x.index_select(0, self._take).view(self._groups, -1, x.shape[1])
            shrunk = torch.bmm(rows, self._bank.a[layer][part][self._places].transpose(1, 2))
            delta = torch.bmm(shrunk, self._bank.b[layer][part][self._places])
            y[self._rows] += delta.view(-1, y.shape[1]).index_select(0, self._back)


class _OneByOne:
    """Each adapter from its own weights: groups too uneven to be padded, as when one of them reads a prompt."""

    def __init__(self, layout: list[list[tuple[Module, ...]]], adapters: Items[AdapterRows]) -> None:
        self._layout, self._adapters = layout, adapters

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        for adapter, first, last in self._adapters:
            for module in self._layout[layer][part]:
                weights = adapter.modules.get(module.name)
                if weights is not None:
                    own = y[first:last, module.start : module.start + module.features_out]
                    own.addmm_(x[first:last] @ weights.a, weights.b, alpha=weights.scaling)
