"""The bank of adapters: bounded, freed when its adapters are unloaded, and near each other in a step.

Proves `engine/compute/lean/bank.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.engine.compute.lean.test_deltas import assert_deltas_of, bank_of
from tests.engine.harness import Harness
from tests.tiny import make_adapter


def test_a_bank_stays_within_its_memory_and_frees_it(harness: Harness, base: Path, tmp_path: Path) -> None:
    bank = bank_of(harness, room=2**20)
    small = [harness.adapter(make_adapter(tmp_path / f"r2-{n}", base, r=2, seed=n)) for n in range(2)]
    large = harness.adapter(make_adapter(tmp_path / "r16", base, r=16, seed=9))
    assert bank.place(small) == {small[0]: 0, small[1]: 1}
    thin = bank.size
    bank.place([large])
    assert 0 < bank.size <= 2**20
    del large
    bank.place(small)  # no adapter of the high rank is left, so the places shrink
    assert bank.size == thin
    bank.release()
    assert bank.size == thin
    small.clear()
    bank.release()
    assert bank.size == 0


def test_the_adapters_of_a_step_are_placed_near_each_other(harness: Harness, base: Path, tmp_path: Path) -> None:
    bank = bank_of(harness)
    voices = [harness.adapter(make_adapter(tmp_path / f"r2-{n}", base, r=2, seed=n)) for n in range(12)]
    for number, voice in enumerate(voices):
        assert bank.place([voice]) == {voice: number}  # idle adapters stay
    few = [voices[0], voices[5], voices[11]]
    places = bank.place(few)
    assert max(places.values()) - min(places.values()) < 5
    assert_deltas_of(bank, places, [2, 2, 2])
    # Adapters return after an eviction, into places where other adapters filled more of the matrix.
    partly = harness.adapter(make_adapter(tmp_path / "partly", base, r=2, seed=99, targets=("q_proj", "up_proj")))
    everyone = [*voices, partly]
    assert_deltas_of(bank, bank.place(everyone), [1] * 13)
    voices.pop(3)
    del everyone, few, places, voice
    assert_deltas_of(bank, bank.place([*voices, partly]), [1] * 12)
