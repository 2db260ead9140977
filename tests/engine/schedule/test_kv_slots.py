"""Slots are handed out within the budget, never twice, and what was in them is wiped."""

from __future__ import annotations

import random

import pytest

from firectl.engine.schedule.kv_slots import Create, Drop, KVSlots, Move, Slot, Wipe


def test_a_slot_is_the_next_size_up_and_at_most_the_longest() -> None:
    slots = KVSlots(10_000, 3000, 4)
    sizes = []
    for length in (1, 256, 257, 1025, 2049):
        slot = slots.reserve(length)
        assert slot is not None
        sizes.append(slot.capacity)
        slots.release(slot, 0)
    assert sizes == [256, 256, 512, 2048, 3000]


def test_slots_of_one_size_lie_side_by_side_and_the_lowest_is_given_first() -> None:
    slots = KVSlots(4096, 1024, 4)
    taken = [slots.reserve(10) for _ in range(3)]
    assert taken == [Slot(0, 0, 256), Slot(0, 1, 256), Slot(0, 2, 256)]
    slots.release(Slot(0, 1, 256), 0)
    assert slots.reserve(10) == Slot(0, 1, 256)


def test_memory_that_is_taken_is_refused_and_memory_that_is_free_changes_its_size() -> None:
    slots = KVSlots(1024, 1024, 8)
    small = [slots.reserve(256) for _ in range(4)]
    assert slots.reserve(1) is None
    for slot in small:
        assert slot is not None
        slots.release(slot, 0)
    assert slots.reserve(1024) == Slot(1, 0, 1024)
    assert slots.take_operations() == [Create(0, 4, 256), Drop(0), Create(1, 1, 1024)]


def test_a_move_copies_before_the_old_slot_is_wiped() -> None:
    slots = KVSlots(4096, 1024, 2)
    old = slots.reserve(200)
    assert old is not None
    slots.take_operations()
    new = slots.grow(old, 300, 200)
    assert new == Slot(1, 0, 512)
    assert slots.take_operations() == [Create(1, 2, 512), Move(old, new, 200), Wipe(old, 200)]


def test_a_budget_below_one_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="a KV budget of 100 tokens does not hold one sequence of 200"):
        KVSlots(100, 200, 1)
    with pytest.raises(ValueError, match="expected at most 200 tokens, got 201"):
        KVSlots(200, 200, 1).reserve(201)


def test_over_any_history_no_slot_is_held_twice_and_the_budget_holds() -> None:
    choices = random.Random(1)
    slots = KVSlots(20_000, 5000, 6)
    held: list[Slot] = []
    sizes: dict[int, int] = {}
    for _ in range(3000):
        if held and choices.random() < 0.5:
            slots.release(held.pop(choices.randrange(len(held))), 10)
        elif (slot := slots.reserve(choices.choice((10, 300, 1000, 5000)))) is not None:
            assert slot not in held
            held.append(slot)
        for operation in slots.take_operations():
            match operation:
                case Create(slab, count, capacity):
                    sizes[slab] = count * capacity
                case Drop(slab):
                    assert all(slot.slab != slab for slot in held)
                    del sizes[slab]
        assert sum(sizes.values()) <= 20_000
        assert slots.reserved == sum(slot.capacity for slot in held)
