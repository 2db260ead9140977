"""Add the adapters' changes to a step's outputs, in as few and as large products as the rows allow.

The weights are in the bank, where the adapters of a step have places near each other. Must not copy weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from firectl.engine.compute.lean.bank import LoraBank, Module
from firectl.engine.compute.lean.model import Deltas
from firectl.engine.compute.packing import AdapterRows
from firectl.engine.schedule.adapter import EngineAdapter

_WASTE = 2
"""Padding saves products. It is worth up to this many times the rows without padding."""
_RUNS = 2
"""Groups are not padded if they form at most this many runs (see `_runs`)."""
_APART = 24
"""From this many rows on, one product per module is faster, because it skips the zeros of B."""


def deltas_of(bank: LoraBank, adapters: Items[AdapterRows], places: Mapping[EngineAdapter, int]) -> Deltas:
    """Plan what `adapters` add to their rows. `places` are in the bank, or empty if the bank had no room.

    Correct for any order of the rows, but fastest for the order that `pack` makes.
    """
    if not places:
        return Unbanked(bank.layout, adapters)
    wanted = [(places[adapter], first, last) for adapter, first, last in adapters]
    if bank.planned is None or bank.planned[0] != wanted:
        # While sequences generate, each step usually has the same rows as the step before.
        bank.planned = (wanted, _plan(bank, adapters, places))
    return bank.planned[1]


def _plan(bank: LoraBank, adapters: Items[AdapterRows], places: Mapping[EngineAdapter, int]) -> Deltas:
    groups = [_Group(places[adapter], first, last) for adapter, first, last in adapters]
    alone: list[_Group] = []
    while groups and _span(groups) * _longest(groups) > _WASTE * sum(group.count for group in groups):
        # The largest group, such as a prompt, gets its own product: padding all others to its length costs too much.
        alone.append(max(groups, key=lambda group: group.count))
        groups.remove(alone[-1])
    runs = _runs(groups)
    products: list[Deltas] = []
    if len(runs) <= _RUNS:
        products += [SingleAdapter(bank, run[0]) if len(run) == 1 else EqualGroups(bank, run) for run in runs]
    else:
        products.append(PaddedGroups(bank, groups))
    products += [SingleAdapter(bank, group) for group in alone]
    touched = [
        [any(module.name in adapter.modules for adapter, _, _ in adapters for module in part) for part in layer]
        for layer in bank.layout
    ]
    return Combined(products, touched)


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of one adapter."""

    place: int
    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first


def _span(groups: list[_Group]) -> int:
    """Return the number of places from the first to the last, unused ones included."""
    return max(group.place for group in groups) + 1 - min(group.place for group in groups)


def _longest(groups: list[_Group]) -> int:
    return max(group.count for group in groups)


def _runs(groups: list[_Group]) -> list[list[_Group]]:
    """Return runs of groups with adjacent rows, adjacent places and the same number of rows."""
    runs: list[list[_Group]] = []
    for group in groups:
        last = runs[-1][-1] if runs else None
        if last and (last.count, last.place + 1, last.last) == (group.count, group.place, group.first):
            runs[-1].append(group)
        else:
            runs.append([group])
    return runs


class Combined:
    """Runs several products on separate rows, only in layers that an adapter of the step changes."""

    def __init__(self, products: list[Deltas], touched: list[list[bool]]) -> None:
        self._products, self._touched = products, touched

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        if self._touched[layer][part]:
            for product in self._products:
                product.add(layer, part, x, y)


class SingleAdapter:
    """Applies one adapter: two products, or one more for each module where skipping zeros is faster."""

    def __init__(self, bank: LoraBank, group: _Group) -> None:
        self._rows = slice(group.first, group.last)
        self._a = [[a[group.place] for a in layer] for layer in bank.a]
        self._b = [
            [
                _blocks(b[group.place], part, bank.rank)
                if group.count >= _APART
                else [(slice(None), slice(None), b[group.place])]
                for b, part in zip(layer, parts, strict=True)
            ]
            for layer, parts in zip(bank.b, bank.layout, strict=True)
        ]

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        shrunk, mine = x[self._rows] @ self._a[layer][part], y[self._rows]
        blocks = self._b[layer][part]
        if len(blocks) == 1:
            mine.addmm_(shrunk, blocks[0][2])
            return
        for ranks, outputs, b in blocks:
            mine[:, outputs].addmm_(shrunk[:, ranks], b)


def _blocks(b: torch.Tensor, part: tuple[Module, ...], rank: int) -> list[tuple[slice, slice, torch.Tensor]]:
    """Return the non-zero blocks of B [modules * rank, out]: (their ranks, their outputs, their numbers)."""
    ranks = [slice(number * rank, (number + 1) * rank) for number in range(len(part))]
    return [(rows, module.outputs, b[rows, module.outputs]) for rows, module in zip(ranks, part, strict=True)]


class EqualGroups:
    """Applies adapters in adjacent places with equally many rows: two products over views."""

    def __init__(self, bank: LoraBank, run: list[_Group]) -> None:
        self._rows, self._groups = slice(run[0].first, run[-1].last), len(run)
        places = slice(run[0].place, run[-1].place + 1)
        self._a = [[a[places] for a in layer] for layer in bank.a]
        self._b = [[b[places] for b in layer] for layer in bank.b]

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        shrunk = torch.bmm(x[self._rows].view(self._groups, -1, x.shape[1]), self._a[layer][part])
        y[self._rows].view(self._groups, -1, y.shape[1]).baddbmm_(shrunk, self._b[layer][part])


class PaddedGroups:
    """Applies groups of different sizes: pads each to the largest group, and drops the padding's results."""

    def __init__(self, bank: LoraBank, groups: list[_Group]) -> None:
        low, longest = min(group.place for group in groups), _longest(groups)
        self._groups = _span(groups)
        places = slice(low, low + self._groups)
        self._a = [[a[places] for a in layer] for layer in bank.a]
        self._b = [[b[places] for b in layer] for layer in bank.b]
        take = [groups[0].first] * (self._groups * longest)
        rows: list[int] = []
        back: list[int] = []
        for group in groups:
            start = (group.place - low) * longest
            take[start : start + group.count] = range(group.first, group.last)
            rows += range(group.first, group.last)
            back += range(start, start + group.count)
        device = self._a[0][0].device
        self._take, self._back = torch.tensor(take, device=device), torch.tensor(back, device=device)
        self._rows: slice | torch.Tensor = slice(rows[0], rows[0] + len(rows))
        if rows != list(range(rows[0], rows[0] + len(rows))):
            self._rows = torch.tensor(rows, device=device)

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        rows = x.index_select(0, self._take).view(self._groups, -1, x.shape[1])
        delta = torch.bmm(torch.bmm(rows, self._a[layer][part]), self._b[layer][part])
        y[self._rows] += delta.view(-1, y.shape[1]).index_select(0, self._back)


class Unbanked:
    """Applies each adapter with its own weights, for a step whose adapters do not fit the bank."""

    def __init__(self, layout: list[list[tuple[Module, ...]]], adapters: Items[AdapterRows]) -> None:
        self._layout, self._adapters = layout, adapters

    def add(self, layer: int, part: int, x: torch.Tensor, y: torch.Tensor) -> None:
        for adapter, first, last in self._adapters:
            for module in self._layout[layer][part]:
                weights = adapter.modules.get(module.name)
                if weights is not None:
                    own = y[first:last, module.outputs]
                    own.addmm_(x[first:last] @ weights.a, weights.b, alpha=weights.scaling)
