"""What the adapters of a step add: each row gets its own adapter's delta, in any arrangement."""

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


def bank_of(harness: Harness, **options: int) -> LoraBank:
    runner = harness.loaded.runner
    assert isinstance(runner, LeanRunner)
    return LoraBank(runner.model.config, harness.loaded.device, harness.loaded.dtype, **options)


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
def test_each_row_gets_its_own_adapters_delta_in_any_arrangement(
    harness: Harness, adapters: dict[str, Path], counts: list[int]
) -> None:
    voices = [harness.adapter(path, f"{name}{n}") for n in range(2) for name, path in adapters.items()]
    bank = bank_of(harness)
    bank.place(voices)
    chosen = voices[: len(counts)] if len(counts) % 2 else voices[-len(counts) :]
    places = bank.place(chosen)
    assert set(places) >= set(chosen)
    assert_deltas_of(bank, places, counts)


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
