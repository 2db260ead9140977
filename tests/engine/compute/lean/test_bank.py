"""The bank of adapters: bounded, given back when nobody uses it, and the same answers without it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from firectl.engine.compute.lean.bank import LoraBank
from firectl.engine.compute.lean.deltas import deltas_of
from firectl.engine.compute.lean.runner import LeanRunner
from firectl.engine.schedule.adapter import EngineAdapter
from tests.engine.harness import Harness
from tests.tiny import make_adapter


def bank_of(harness: Harness, **options: int) -> LoraBank:
    runner = harness.loaded.runner
    assert isinstance(runner, LeanRunner)
    return LoraBank(runner.model.config, harness.loaded.device, harness.loaded.dtype, **options)


def test_a_bank_takes_no_more_memory_than_it_may_and_gives_it_back(
    harness: Harness, base: Path, tmp_path: Path
) -> None:
    bank = bank_of(harness, room=2**20)
    small = [harness.adapter(make_adapter(tmp_path / f"r2-{n}", base, r=2, seed=n)) for n in range(2)]
    large = harness.adapter(make_adapter(tmp_path / "r16", base, r=16, seed=9))
    assert bank.place(small) == {small[0]: 0, small[1]: 1}
    thin = bank.size
    bank.place([large])
    assert 0 < bank.size <= 2**20
    del large
    bank.place(small)  # nobody has the high rank any more: the others do not pay for it
    assert bank.size == thin
    bank.release()
    assert bank.size == thin
    small.clear()
    bank.release()
    assert bank.size == 0


def test_adapters_that_the_bank_has_no_room_for_answer_the_same(harness: Harness, adapters: dict[str, Path]) -> None:
    voices = [harness.adapter(path, name) for name, path in adapters.items()]
    runner = harness.loaded.runner
    assert isinstance(runner, LeanRunner)

    def answers() -> list[list[int]]:
        asked = [harness.sequence([7 * n + 1, 3, 5], adapter=voices[n % len(voices)]) for n in range(6)]
        return [result.tokens for result in harness.run(asked)]

    with_room, whole = answers(), runner._bank
    runner._bank = bank_of(harness, room=1)
    assert runner._bank.place(voices) == {}
    try:
        assert answers() == with_room
    finally:
        runner._bank = whole


def test_the_adapters_of_a_step_lie_near_each_other_wherever_they_were(
    harness: Harness, base: Path, tmp_path: Path
) -> None:
    bank = bank_of(harness)
    voices = [harness.adapter(make_adapter(tmp_path / f"r2-{n}", base, r=2, seed=n)) for n in range(12)]
    for number, voice in enumerate(voices):
        assert bank.place([voice]) == {voice: number}  # who is idle stays
    few = [voices[0], voices[5], voices[11]]
    places = bank.place(few)
    assert max(places.values()) - min(places.values()) < 5
    assert_deltas_of(bank, places, [2, 2, 2])
    # Those that were put out for them come back, in the place of another whose weights reach further.
    partly = harness.adapter(make_adapter(tmp_path / "partly", base, r=2, seed=99, targets=("q_proj", "up_proj")))
    everybody = [*voices, partly]
    assert_deltas_of(bank, bank.place(everybody), [1] * 13)
    voices.pop(3)
    del everybody, few, places, voice
    assert_deltas_of(bank, bank.place([*voices, partly]), [1] * 12)


@pytest.mark.parametrize(
    "counts",
    [
        [1],
        [40],
        [2, 2, 2, 2],
        [1, 2, 2, 2],
        [1, 2, 3, 4],
        [1, 1, 2, 200],
        [1, 2, 3, 30, 40],
        [1, 1, 1, 1, 6],
        [2, 1, 3, 200, 1, 2],
        [2, 2, 1, 2],
    ],
    ids=str,
)
def test_whatever_rows_the_adapters_have_each_row_gets_its_own_adapters_delta(
    harness: Harness, adapters: dict[str, Path], counts: list[int]
) -> None:
    voices = [harness.adapter(path, f"{name}{n}") for n in range(2) for name, path in adapters.items()]
    bank = bank_of(harness)
    bank.place(voices)
    chosen = voices[: len(counts)] if len(counts) % 2 else voices[-len(counts) :]
    assert_deltas_of(bank, bank.place(chosen), counts)


def assert_deltas_of(bank: LoraBank, places: Mapping[EngineAdapter, int], counts: list[int]) -> None:
    """Adapters that have `counts` rows, with five rows of the base before them."""
    rows, first = [], 5
    for (adapter, _), count in zip(sorted(places.items(), key=lambda item: item[1]), counts, strict=True):
        rows.append((adapter, first, first + count))
        first += count
    found, wanted = deltas_of(bank, rows, places), deltas_of(bank, rows, {})
    for layer, parts in enumerate(bank.layout):
        for part, modules in enumerate(parts):
            x = torch.randn(first, modules[0].features_in)
            y = torch.randn(first, modules[-1].outputs.stop)
            expected = y.clone()
            base = y[:5].clone()
            found.add(layer, part, x, y)
            wanted.add(layer, part, x, expected)
            torch.testing.assert_close(y, expected)
            assert torch.equal(y[:5], base)
