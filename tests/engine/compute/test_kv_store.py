"""The tensors behind the slots do what the operations say."""

from __future__ import annotations

import torch

from firectl.engine.compute.kv_store import KVStore
from firectl.engine.schedule.kv_slots import Create, Move, Slot, Wipe


def test_the_store_does_what_the_operations_say() -> None:
    store = KVStore()
    first, second = Slot(0, 1, 4), Slot(1, 0, 8)
    like = torch.empty(1, 2, 1, 3)
    store.apply([Create(0, 2, 4), Create(1, 1, 8)])
    keys, values = store.layer(0, 7, like, like)
    assert keys.shape == values.shape == (2, 2, 4, 3)
    assert not keys.any()
    keys[1] = 5
    keys[0] = 9
    values[1] = 6
    store.apply([Move(first, second, 3), Wipe(first, 4)])
    moved_keys, moved_values = store.layer(1, 7, like, like)
    assert moved_keys[0, :, :3].eq(5).all()
    assert moved_values[0, :, :3].eq(6).all()
    assert not moved_keys[0, :, 3:].any()
    assert not keys[1].any()
    assert keys[0].eq(9).all()
    assert store.bytes_per_token == 2 * 2 * 3 * 4
