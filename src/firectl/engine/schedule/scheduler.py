"""Decide which sequences run in the next step, and on how many tokens.

Generating sequences come first, one token each, so that streams never pause. The rest of a step's tokens goes to
prompts, in chunks. Must not depend on tensors, models or HTTP.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from firectl.engine.schedule.kv_slots import KVSlots
from firectl.engine.schedule.prefix_cache import PrefixCache
from firectl.engine.schedule.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens of a sequence from position `start`, computed in one step."""

    sequence: Sequence
    start: int
    count: int

    @property
    def stop(self) -> int:
        return self.start + self.count

    @property
    def samples(self) -> bool:
        """Whether the chunk ends the sequence's tokens, so that its next token can be picked."""
        return self.stop == len(self.sequence.tokens)


class Scheduler:
    """Holds the waiting and the running sequences, and their KV memory."""

    def __init__(
        self, memory: KVSlots, prefixes: PrefixCache, max_running: int, step_tokens: int, answer_reserve: int
    ) -> None:
        if step_tokens < max_running:
            raise ValueError(f"a step of {step_tokens} tokens cannot serve {max_running} sequences")
        self.memory = memory
        self.reused = 0
        """Number of tokens whose keys and values were copied from another sequence."""
        self.preempted = 0
        """Number of times that a sequence was sent back to the queue."""
        self._prefixes = prefixes
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._max_running = max_running
        self._step_tokens = step_tokens
        self._answer_reserve = answer_reserve

    @property
    def taken(self) -> int:
        """KV memory in the slots of running sequences, in tokens."""
        return self.memory.reserved - self._prefixes.size

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, spoiled: bool = False) -> None:
        """Free the slot of a sequence that ended or was cancelled.

        Its prefix is kept for others, unless `spoiled`: then its keys and values must not be used.
        """
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        if not spoiled:
            self._prefixes.keep(sequence)
        self._release(sequence)

    def schedule(self) -> list[Chunk]:
        """Choose the chunks of the next step. Empty if there is nothing to compute."""
        plan: dict[Sequence, Chunk] = {}
        left = self._step_tokens
        for sequence in sorted(self.running, key=lambda each: each.pending > 1):  # stable: oldest first in each half
            if left == 0:
                break
            count = min(sequence.pending, left)
            if sequence in self.running and self._make_room(sequence, sequence.computed + count, plan):
                plan[sequence] = Chunk(sequence, sequence.computed, count)
                left = self._step_tokens - sum(chunk.count for chunk in plan.values())
        while left and self.waiting and len(self.running) < self._max_running:
            sequence = self._next()
            if not self._admit(sequence):
                break  # no other may overtake, or a long prompt would wait for ever behind short ones
            count = min(sequence.pending, left)
            plan[sequence] = Chunk(sequence, sequence.computed, count)
            left -= count
        return list(plan.values())

    def _next(self) -> Sequence:
        """Return the oldest waiting sequence of the adapter with the fewest running ones."""
        busy = Counter(sequence.adapter for sequence in self.running)
        return min(self.waiting, key=lambda sequence: (busy[sequence.adapter], sequence.arrival))

    def _admit(self, sequence: Sequence) -> bool:
        wanted = self._wanted(sequence, len(sequence.tokens))
        slot = self.memory.reserve(wanted)
        while slot is None and self._prefixes.evict():
            slot = self.memory.reserve(wanted)
        if slot is None:
            return False
        sequence.slot = slot
        found = self._prefixes.find(sequence, self.running)
        if found is not None:
            source, sequence.computed = found
            self.memory.copy(source, slot, sequence.computed)
            self.reused += sequence.computed
        self.waiting.remove(sequence)
        self.running.append(sequence)
        return True

    def _make_room(self, sequence: Sequence, length: int, plan: dict[Sequence, Chunk]) -> bool:
        """Make the slot long enough: move it or preempt the youngest sequence. False if that is `sequence` itself."""
        while sequence.slot is not None and sequence.slot.capacity < length:
            grown = self.memory.grow(sequence.slot, self._wanted(sequence, length), sequence.computed)
            if grown is not None:
                sequence.slot = grown
            elif not self._prefixes.evict():
                self._preempt(self.running[-1], plan)
        return sequence.slot is not None

    def _wanted(self, sequence: Sequence, length: int) -> int:
        """Return `length` plus a reserve for the answer, with which most answers never have to move."""
        return min(sequence.longest, length + self._answer_reserve)

    def _preempt(self, victim: Sequence, plan: dict[Sequence, Chunk]) -> None:
        """Return a sequence to the front of the queue with its tokens. Its keys and values are computed again later."""
        self.preempted += 1
        plan.pop(victim, None)
        self.running.remove(victim)
        self._release(victim)
        victim.computed = 0
        self.waiting.appendleft(victim)

    def _release(self, sequence: Sequence) -> None:
        if sequence.slot is not None:
            self.memory.release(sequence.slot, sequence.computed)
            sequence.slot = None
