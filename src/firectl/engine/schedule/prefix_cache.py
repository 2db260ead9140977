"""Keep keys and values of ended sequences for sequences that begin with the same tokens.

A prefix is used only for the adapter that computed it (name and content). The cache takes at most a quarter of the
KV memory, and frees its least recently used prefix before any sequence has to wait. Must not depend on tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass

from firectl.engine.schedule.kv_slots import KVSlots, Slot
from firectl.engine.schedule.sequence import Sequence

SHORTEST = 32
"""Least number of tokens in a prefix: copying fewer is not worth the time."""
MOST = 64
"""Largest number of prefixes kept, so that a lookup stays fast."""
SHARE = 4
"""The cache may take 1/SHARE of the memory; the rest is for running sequences, in slabs of any size."""


@dataclass(frozen=True, eq=False, slots=True)
class Prefix:
    owner: tuple[str, str] | None
    """Name and content hash of the adapter; None for the base model."""
    tokens: Items[int]
    slot: Slot


class PrefixCache:
    def __init__(self, memory: KVSlots, most: int = MOST) -> None:
        self._memory = memory
        self._most = most
        self._kept: OrderedDict[Prefix, None] = OrderedDict()
        """Least recently used first."""

    @property
    def size(self) -> int:
        """Return the KV memory that the cache takes, in tokens."""
        return sum(prefix.slot.capacity for prefix in self._kept)

    def keep(self, sequence: Sequence) -> None:
        """Copy the sequence's keys and values into the cache if memory is free. The sequence keeps its own slot.

        Evicts other prefixes only if the new one then fits.
        """
        if sequence.slot is None or sequence.computed < SHORTEST or self._most == 0:
            return
        owner, tokens = owner_of(sequence), sequence.tokens[: sequence.computed]
        leaving: list[Prefix] = []
        for other in self._kept:
            if other.owner == owner:
                common = common_length(other.tokens, tokens)
                if common == len(tokens):
                    self._kept.move_to_end(other)
                    return
                if common == len(other.tokens):
                    leaving.append(other)
        freed = sum(other.slot.capacity for other in leaving)
        excess = self.size - freed + len(tokens) - self._memory.budget // SHARE
        for other in self._kept:
            if excess <= 0 and len(self._kept) - len(leaving) < self._most:
                break
            if other not in leaving:
                leaving.append(other)
                freed += other.slot.capacity
                excess -= other.slot.capacity
        if excess > 0 or self._memory.spare + freed < len(tokens):
            return
        for other in leaving:
            self._drop(other)
        slot = self._memory.keep(len(tokens))
        if slot is None:
            raise RuntimeError("memory that was spare could not be kept")
        self._memory.copy(sequence.slot, slot, len(tokens))
        self._kept[Prefix(owner, tokens, slot)] = None

    def find(self, sequence: Sequence, running: Iterable[Sequence]) -> tuple[Slot, int] | None:
        """Return slot and length of the longest kept or running prefix of the sequence. None if it is too short.

        Leaves at least one token of the sequence to compute, because its logits give the next token.
        """
        owner, most = owner_of(sequence), len(sequence.tokens) - 1
        if self._most == 0 or most < SHORTEST:
            return None
        best: tuple[int, Slot, Prefix | None] | None = None
        for prefix in self._kept:
            if prefix.owner == owner:
                length = min(most, common_length(prefix.tokens, sequence.tokens))
                if best is None or length > best[0]:
                    best = length, prefix.slot, prefix
        for other in running:
            if other.slot is not None and owner_of(other) == owner:
                length = min(most, other.computed, common_length(other.tokens, sequence.tokens))
                if best is None or length > best[0]:
                    best = length, other.slot, None
        if best is None or best[0] < SHORTEST:
            return None
        length, slot, used = best
        if used is not None:
            self._kept.move_to_end(used)
        return slot, length

    def evict(self) -> bool:
        """Free the memory of the least recently used prefix; False when the cache is empty."""
        oldest = next(iter(self._kept), None)
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    def _drop(self, prefix: Prefix) -> None:
        del self._kept[prefix]
        self._memory.drop(prefix.slot)


def owner_of(sequence: Sequence) -> tuple[str, str] | None:
    adapter = sequence.adapter
    return None if adapter is None else (adapter.name, adapter.content_hash)


def common_length(one: Items[int], other: Items[int]) -> int:
    """Return how many tokens two sequences have in common from their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices compare at memory speed
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
