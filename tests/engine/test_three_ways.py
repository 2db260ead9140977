"""Live merge, multi-LoRA and PEFT agree with each other, pair by pair, on the engine that serves both."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch

from firectl.lora.merge.merge import merge
from firectl.samples import ADAPTERS, sample_path
from tests.engine.harness import Harness
from tests.engine.parity import CUTS, PROMPTS, reference
from tests.tiny import ALL_TARGETS, make_adapter, make_base


def served(harness: Harness, adapter: Path | None) -> list[torch.Tensor]:
    voice = harness.adapter(adapter) if adapter else None
    sequences = [harness.sequence(prompt, adapter=voice) for prompt in PROMPTS]
    return harness.logits(sequences, [CUTS[len(prompt)] for prompt in PROMPTS])


def check_three_ways(base: Path, adapter: Path, merged: Path) -> None:
    merge(adapter, base, merged)
    ways = {
        "live merge": served(Harness(merged), None),
        "multi-LoRA": served(Harness(base, enable_lora=True), adapter),
        "PEFT": reference(base, adapter),
    }
    for one, other in combinations(ways, 2):
        for place, (mine, theirs) in enumerate(zip(ways[one], ways[other], strict=True)):
            assert torch.allclose(mine, theirs, rtol=0, atol=1e-4), (one, other, place)


@pytest.mark.parametrize("name", ADAPTERS)
def test_on_the_trained_samples(name: str, tmp_path: Path) -> None:
    check_three_ways(sample_path("base"), sample_path(name), tmp_path / "merged")


@pytest.mark.parametrize("rank", [4, 16, 64])
def test_on_random_adapters_of_every_rank_on_every_projection(rank: int, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    check_three_ways(base, make_adapter(tmp_path / "adapter", base, r=rank, alpha=rank), tmp_path / "merged")


@pytest.mark.parametrize("target", ALL_TARGETS)
def test_on_each_projection_alone(target: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    check_three_ways(base, make_adapter(tmp_path / "adapter", base, targets=(target,)), tmp_path / "merged")
