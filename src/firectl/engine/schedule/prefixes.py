"""Beginnings whose keys and values are kept after their sequence has ended, for another one that begins the same.

A beginning belongs to the adapter, name and content, that computed it, and serves no other. Kept memory is what
nobody else wants: at most a quarter of all, and given up, oldest use first, before a sequence waits or makes way. Must
not know tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass

from firectl.engine.schedule.kv_slots import KVSlots, Slot
from firectl.engine.schedule.sequence import Sequence

SHORTEST = 32
"""Tokens from which on copying a beginning is worth the looking."""
MOST = 64
"""Beginnings kept at most, so that looking stays cheap."""
SHARE = 4
"""One part in so many of the memory may be kept: the rest is for those who run, in slabs as large as they like."""


@dataclass(frozen=True, eq=False, slots=True)
class Beginning:
    owner: tuple[str, str] | None
    """Name and content of the adapter; None for the base."""
    tokens: Items[int]
    slot: Slot


class Prefixes:
    def __init__(self, memory: KVSlots, most: int = MOST) -> None:
        self._memory = memory
        self._most = most
        self._kept: OrderedDict[Beginning, None] = OrderedDict()
        """Oldest use first."""

    @property
    def size(self) -> int:
        """Tokens' worth of memory that is kept."""
        return sum(beginning.slot.capacity for beginning in self._kept)

    def keep(self, sequence: Sequence) -> None:
        """Copy what the sequence has computed, if there is memory that nobody uses; its own slot stays its own.

        Nothing that is kept goes before it is sure that this takes its place.
        """
        if sequence.slot is None or sequence.computed < SHORTEST or self._most == 0:
            return
        owner, tokens = owner_of(sequence), sequence.tokens[: sequence.computed]
        leaving: list[Beginning] = []
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
            self._forget(other)
        slot = self._memory.keep(len(tokens))
        if slot is None:
            raise RuntimeError("memory that was spare could not be kept")
        self._memory.copy(sequence.slot, slot, len(tokens))
        self._kept[Beginning(owner, tokens, slot)] = None

    def find(self, sequence: Sequence, running: Iterable[Sequence]) -> tuple[Slot, int] | None:
        """Where the longest beginning of the sequence is, kept or still running, and its length; None if too short.

        At least one token is left to compute: its logits are what is asked for.
        """
        owner, most = owner_of(sequence), len(sequence.tokens) - 1
        if self._most == 0 or most < SHORTEST:
            return None
        best: tuple[int, Slot, Beginning | None] | None = None
        for beginning in self._kept:
            if beginning.owner == owner:
                length = min(most, common_length(beginning.tokens, sequence.tokens))
                if best is None or length > best[0]:
                    best = length, beginning.slot, beginning
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

    def give_up(self) -> bool:
        """Free the memory of the one used longest ago; False when nothing is kept."""
        if not self._kept:
            return False
        self._forget(next(iter(self._kept)))
        return True

    def _forget(self, beginning: Beginning) -> None:
        del self._kept[beginning]
        self._memory.drop(beginning.slot)


def owner_of(sequence: Sequence) -> tuple[str, str] | None:
    adapter = sequence.adapter
    return None if adapter is None else (adapter.name, adapter.content_hash)


def common_length(one: Items[int], other: Items[int]) -> int:
    """How many tokens two sequences have in common from their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices compare at memory speed
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
