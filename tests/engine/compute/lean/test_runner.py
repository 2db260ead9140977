"""The lean runner: base and adapters in one batch, few or more than the bank has places for.

Proves `engine/compute/lean/runner.py` through the engine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.sequence import Sequence
from tests.engine.harness import Harness
from tests.engine.parity import CUTS, PROMPTS


def test_rows_without_an_adapter_keep_the_bits_of_the_base(harness: Harness, adapters: dict[str, Path]) -> None:
    prompts = [PROMPTS[2], PROMPTS[2]]
    cuts = [CUTS[40], CUTS[40]]
    alone = harness.logits([harness.sequence(prompt) for prompt in prompts], cuts)
    voice = harness.adapter(adapters["wide"])
    mixed = harness.logits([harness.sequence(prompts[0]), harness.sequence(prompts[1], adapter=voice)], cuts)
    assert torch.equal(mixed[0], alone[0])
    assert not torch.equal(mixed[1], alone[1])


def test_adapters_come_and_go_between_steps(harness: Harness, adapters: dict[str, Path]) -> None:
    """Steps of every arrangement: equal and unequal rows, a prompt among single tokens, and emptied places."""
    voices = [None, *(harness.adapter(path, name) for name, path in adapters.items())]

    def make(number: int) -> Any:
        prompt = [(13 * number + 5 * place) % 250 for place in range(3 + number % 7 * 4)]
        return harness.sequence(prompt, adapter=voices[number % len(voices)], max_tokens=4 + number % 6)

    alone = [harness.run([make(number)])[0].tokens for number in range(20)]
    together = [result.tokens for result in harness.run([make(number) for number in range(20)])]
    assert together == alone


def test_more_adapters_than_the_bank_has_places_answer_the_same(harness: Harness, adapters: dict[str, Path]) -> None:
    voices = [harness.adapter(path, name) for name, path in adapters.items()]
    many = [replace(voices[number % len(voices)], name=f"copy {number}") for number in range(65)]

    def asked(adapter: EngineAdapter, number: int) -> Sequence:
        return harness.sequence([7 * number % 250, 3, 5], adapter=adapter, max_tokens=4)

    together = harness.run([asked(adapter, number) for number, adapter in enumerate(many)], max_num_seqs=65)
    for number, result in enumerate(together):
        alone = harness.run([asked(voices[number % len(voices)], number)])[0]
        assert result.tokens == alone.tokens
