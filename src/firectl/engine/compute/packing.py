"""Make the batch of one step: a flat row of tokens, and which rows belong to which sequence and adapter.

The rows of one adapter are adjacent, so that its weights are multiplied by one slice. Must not run the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import torch

from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.kv_slots import Slot
from firectl.engine.schedule.scheduler import Chunk
from firectl.engine.schedule.sequence import Sequence

_LENGTHS = 16
"""Lengths are rounded up to a multiple of this. Then a row's sum is split in the same way whatever its neighbours:
a processor's vectors have 8 or 16 numbers."""

AdapterRows = tuple[EngineAdapter, int, int]
"""An adapter and its half-open range of rows."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """Part of a prompt: rows `first` to `last` are positions `start` to `stop` of the sequence in `slot`."""

    slot: Slot
    first: int
    last: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Decodes:
    """One row for each of several sequences in one slab, computed by one attention call.

    The call reads slots `low` to `high` and positions 0 to `length`. It also computes the free slots in this range, and
    drops their results. `length` is a multiple of _LENGTHS if the slots are long enough.
    """

    slab: int
    rows: torch.Tensor | slice
    """Row numbers in the order of the slots. Adjacent rows are a slice, which needs no copy."""
    slots: torch.Tensor
    positions: torch.Tensor
    low: int
    high: int
    length: int
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)
    _lines: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    @property
    def span(self) -> int:
        return self.high - self.low

    def lines(self, heads: int, capacity: int) -> torch.Tensor:
        """Return where the rows' heads go in a flat view of a slab [slots, heads, capacity, .]: [rows * heads]."""
        if (heads, capacity) not in self._lines:
            each = torch.arange(heads, device=self.slots.device)
            lines = (self.slots[:, None] * heads + each) * capacity + self.positions[:, None]
            self._lines[heads, capacity] = lines.reshape(-1)
        return self._lines[heads, capacity]

    def mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Return the attention mask of 0 and -inf: [span, 1, 1, length]. Made once per step, not once per layer."""
        if window not in self.masks:
            last = self.positions.new_zeros(self.span)
            last[self.slots - self.low] = self.positions
            self.masks[window] = mask_of(last, self.length, window, dtype)[:, None, None, :]
        return self.masks[window]


def mask_of(last: torch.Tensor, length: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """Return the mask of 0 and -inf [rows, length]. Each row attends to the `window` positions up to its `last`."""
    places = torch.arange(length, device=last.device)
    seen = places <= last[:, None]
    if window is not None:
        seen &= places > last[:, None] - window
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


@dataclass(frozen=True, slots=True)
class Batch:
    """All rows of one step. Tensors are on the model's device; `ids` and `positions` are [1, rows]."""

    ids: torch.Tensor
    positions: torch.Tensor
    prefills: tuple[Prefill, ...]
    decodes: tuple[Decodes, ...]
    adapters: tuple[AdapterRows, ...]
    sampled: tuple[Sequence, ...]
    """The sequences that get their next token, in the order of `sampled_rows`."""
    sampled_rows: torch.Tensor
    highest: int
    """The highest position in `positions`."""

    @property
    def sampled_adapters(self) -> tuple[AdapterRows, ...]:
        """Return the same as `adapters`, but with row ranges that count only the sampled rows."""
        return _adapter_rows([(sequence.adapter, 1) for sequence in self.sampled])


def pack(chunks: Items[Chunk], device: torch.device, places: Mapping[EngineAdapter, int] | None = None) -> Batch:
    """Pack a step's chunks into one batch: first the rows without an adapter, then those of each adapter.

    Adapters with fewer rows come first; with equally many, the one with the lower place in `places`.
    """
    counts: Counter[EngineAdapter | None] = Counter()
    for chunk in chunks:
        counts[chunk.sequence.adapter] += chunk.count
    order: dict[EngineAdapter | None, tuple[int, int]] = {None: (0, 0)}
    for number, (adapter, count) in enumerate(counts.items()):
        if adapter is not None:
            order[adapter] = (count, (places or {}).get(adapter, number))
    laid = sorted(chunks, key=lambda chunk: (order[chunk.sequence.adapter], chunk.count > 1, _place(chunk)))
    ids: list[int] = []
    positions: list[int] = []
    prefills = []
    singles: list[tuple[Slot, int, int]] = []
    sampled: list[Sequence] = []
    sampled_rows = []
    for chunk in laid:
        slot = chunk.sequence.slot
        if slot is None:
            raise RuntimeError("a scheduled sequence has no slot")
        first = len(ids)
        ids.extend(chunk.sequence.tokens[chunk.start : chunk.stop])
        positions.extend(range(chunk.start, chunk.stop))
        if chunk.count == 1:
            singles.append((slot, first, chunk.start))
        else:
            prefills.append(Prefill(slot, first, len(ids), chunk.start, chunk.stop))
        if chunk.samples:
            sampled.append(chunk.sequence)
            sampled_rows.append(len(ids) - 1)
    return Batch(
        ids=torch.tensor([ids], device=device),
        positions=torch.tensor([positions], device=device),
        prefills=tuple(prefills),
        decodes=tuple(_decodes(singles, device)),
        adapters=_adapter_rows([(chunk.sequence.adapter, chunk.count) for chunk in laid]),
        sampled=tuple(sampled),
        sampled_rows=torch.tensor(sampled_rows, dtype=torch.long, device=device),
        highest=max(positions),
    )


def _place(chunk: Chunk) -> tuple[int, int]:
    slot = chunk.sequence.slot
    return (slot.slab, slot.index) if slot else (-1, -1)


def _decodes(singles: list[tuple[Slot, int, int]], device: torch.device) -> list[Decodes]:
    groups = []
    in_order = sorted(singles, key=lambda single: (single[0].slab, single[0].index))
    for slab, members in groupby(in_order, key=lambda single: single[0].slab):
        for run in _runs(list(members)):
            slots, rows, positions = zip(*((slot.index, row, position) for slot, row, position in run), strict=True)
            groups.append(
                Decodes(
                    slab=slab,
                    rows=_together(rows, device),
                    slots=torch.tensor(slots, device=device),
                    positions=torch.tensor(positions, device=device),
                    low=slots[0],
                    high=slots[-1] + 1,
                    length=min(-(-(max(positions) + 1) // _LENGTHS) * _LENGTHS, run[0][0].capacity),
                )
            )
    return groups


def _together(rows: tuple[int, ...], device: torch.device) -> torch.Tensor | slice:
    if rows == tuple(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[0] + len(rows))
    return torch.tensor(rows, device=device)


def _runs(members: list[tuple[Slot, int, int]]) -> list[list[tuple[Slot, int, int]]]:
    """Split where two or more free slots are between taken ones: reading them costs more than another call."""
    runs = [[members[0]]]
    for before, member in pairwise(members):
        if member[0].index - before[0].index <= 2:
            runs[-1].append(member)
        else:
            runs.append([member])
    return runs


def _adapter_rows(counts: Items[tuple[EngineAdapter | None, int]]) -> tuple[AdapterRows, ...]:
    rows: list[AdapterRows] = []
    first = 0
    for adapter, members in groupby(counts, key=lambda item: item[0]):
        last = first + sum(count for _, count in members)
        if adapter is not None:
            rows.append((adapter, first, last))
        first = last
    return tuple(rows)
