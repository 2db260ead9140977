"""Decide where each sequence's keys and values are stored: slabs of KV memory, each divided into equal slots.

A sequence owns one contiguous slot, and moves to a longer one when it needs more. Equal slots side by side let one
attention call read all decoding sequences of a slab in place. Must not depend on tensors: it queues operations on them.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

SMALLEST_SLOT = 256
SLAB_TOKENS = 16384


@dataclass(frozen=True, slots=True)
class Slot:
    slab: int
    index: int
    capacity: int
    """Size in tokens."""


@dataclass(frozen=True, slots=True)
class Create:
    slab: int
    slots: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Move:
    """Copy the first `length` tokens of one slot into another."""

    source: Slot
    target: Slot
    length: int


@dataclass(frozen=True, slots=True)
class Wipe:
    """Zero the first `length` tokens, so that nothing of one request (a NaN, say) reaches the next."""

    slot: Slot
    length: int


@dataclass(frozen=True, slots=True)
class Drop:
    slab: int


Operation = Create | Move | Wipe | Drop


@dataclass(slots=True)
class _Slab:
    number: int
    slots: int
    capacity: int
    free: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.slots * self.capacity

    @property
    def empty(self) -> bool:
        return len(self.free) == self.slots


class KVSlots:
    """Allocates slots of KV memory, in slabs of at most `budget` tokens in total.

    `max_length` is the number of tokens of the longest sequence, at most `budget`.
    """

    def __init__(self, budget: int, max_length: int, max_slots: int) -> None:
        if budget < max_length:
            raise ValueError(f"a KV budget of {budget} tokens does not hold one sequence of {max_length}")
        self.budget = budget
        self._max_length = max_length
        self._max_slots = max_slots
        self._slabs: dict[int, _Slab] = {}
        self._next_slab = 0
        self._operations: list[Operation] = []

    @property
    def reserved(self) -> int:
        """Memory in taken slots, in tokens."""
        return sum((slab.slots - len(slab.free)) * slab.capacity for slab in self._slabs.values())

    @property
    def spare(self) -> int:
        """Memory outside the slabs that have a taken slot, in tokens."""
        return self.budget - sum(slab.size for slab in self._slabs.values() if not slab.empty)

    def reserve(self, length: int) -> Slot | None:
        """Take a free slot for `length` tokens. None if the memory is full."""
        capacity = self._capacity(length)
        slab = next((s for s in self._slabs.values() if s.capacity == capacity and s.free), None)
        slab = slab or self._create(capacity)
        if slab is None:
            return None
        # Take the lowest index first, so that taken slots are side by side.
        return Slot(slab.number, heapq.heappop(slab.free), capacity)

    def grow(self, slot: Slot, length: int, used: int) -> Slot | None:
        """Move `used` tokens to a longer slot and release the old one. None if the memory is full."""
        target = self.reserve(length)
        if target is not None:
            self.copy(slot, target, used)
            self.release(slot, used)
        return target

    def keep(self, length: int) -> Slot | None:
        """Take a slot of exactly `length` tokens in its own slab, which no step reads. None if the memory is full."""
        slab = self._create(length, slots=1)
        return None if slab is None else Slot(slab.number, slab.free.pop(), length)

    def copy(self, source: Slot, target: Slot, length: int) -> None:
        self._operations.append(Move(source, target, length))

    def drop(self, slot: Slot) -> None:
        """Free a slot that `keep` returned."""
        del self._slabs[slot.slab]
        self._operations.append(Drop(slot.slab))

    def release(self, slot: Slot, used: int) -> None:
        if used:
            self._operations.append(Wipe(slot, used))
        heapq.heappush(self._slabs[slot.slab].free, slot.index)

    def take_operations(self) -> list[Operation]:
        """Return and remove the operations that must run before the next step, oldest first."""
        operations, self._operations = self._operations, []
        return operations

    def _capacity(self, length: int) -> int:
        if length > self._max_length:
            raise ValueError(f"expected at most {self._max_length} tokens, got {length}")
        capacity = SMALLEST_SLOT
        while capacity < length:
            capacity *= 2
        return min(capacity, self._max_length)

    def _create(self, capacity: int, slots: int | None = None) -> _Slab | None:
        """Create a slab of `slots` slots, or of as many as fit once empty slabs are dropped. None if no slot fits."""
        slots = slots or max(1, min(SLAB_TOKENS // capacity, self._max_slots))
        for slab in list(self._slabs.values()):
            if self._left() >= slots * capacity:
                break
            if slab.empty:
                del self._slabs[slab.number]
                self._operations.append(Drop(slab.number))
        slots = min(slots, self._left() // capacity)
        if slots == 0:
            return None
        slab = _Slab(self._next_slab, slots, capacity, list(range(slots)))
        self._next_slab += 1
        self._slabs[slab.number] = slab
        self._operations.append(Create(slab.number, slots, capacity))
        return slab

    def _left(self) -> int:
        return self.budget - sum(slab.size for slab in self._slabs.values())
