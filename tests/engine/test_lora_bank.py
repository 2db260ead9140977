"""The bank of adapters: bounded, given back when nobody uses it, and the same answers without it."""

from __future__ import annotations

from pathlib import Path

from firectl.engine.embedded.lean_lora import LoraBank
from firectl.engine.embedded.lean_runner import LeanRunner
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
