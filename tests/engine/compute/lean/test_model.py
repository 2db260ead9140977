"""The lean forward pass: which models it takes, and that it means what transformers' code means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from firectl.engine.compute.lean.runner import LeanRunner
from firectl.engine.compute.transformers.runner import TransformersRunner
from tests.engine.compute.transformers.test_runner import CUTS, PROMPTS, check_parity
from tests.engine.harness import Harness
from tests.tiny import load_reference, make_adapter, make_base

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize("arch", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_common_families_are_computed_lean(arch: str, tmp_path: Path) -> None:
    assert isinstance(Harness(make_base(tmp_path / "base", arch=arch)).loaded.runner, LeanRunner)


@pytest.mark.parametrize(
    "config",
    [
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
        {"rope_parameters": LLAMA3},
        {"rope_theta": 500.0, "rope_scaling": LLAMA3 | {"type": "llama3"}},
        {"rope_theta": 2000.0},
        {"tie_word_embeddings": True},
    ],
    ids=["linear", "llama3", "llama3 as it used to be spelled", "theta", "tied, with a head in the files"],
)
def test_what_a_config_says_means_what_it_means_to_transformers(config: dict[str, Any], tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", config=config)
    assert isinstance(Harness(base).loaded.runner, LeanRunner)
    check_parity(base, {"all": make_adapter(tmp_path / "all", base, seed=1)})


@pytest.mark.parametrize(
    "config",
    [
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}},
        {"hidden_act": "gelu"},
        {"rms_norm_eps": None},
    ],
    ids=["another rotation", "another activation", "a number that is not given"],
)
def test_what_it_does_not_know_is_left_to_transformers(config: dict[str, Any], tmp_path: Path) -> None:
    from firectl.engine.compute.lean.config import lean_config
    from firectl.lora.read.base_model import BaseModel

    base = make_base(tmp_path / "base", config=config)
    assert lean_config(BaseModel.open(base).config) is None
    if config.get("hidden_act"):
        assert isinstance(Harness(base).loaded.runner, TransformersRunner)


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", tied=True)
    assert isinstance(Harness(base).loaded.runner, LeanRunner)
    check_parity(base, {})


def test_in_bfloat16_it_is_as_close_to_the_truth_as_transformers_is(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", dtype="bfloat16")
    harness = Harness(base, dtype="bfloat16")
    mine = harness.logits([harness.sequence(prompt) for prompt in PROMPTS], [CUTS[len(p)] for p in PROMPTS])
    exact, rounded = load_reference(base), load_reference(base, dtype="bfloat16")
    with torch.no_grad():
        for prompt, logits in zip(PROMPTS, mine, strict=True):
            ids = torch.tensor([prompt])
            truth = exact(input_ids=ids).logits[0, -1]
            theirs = rounded(input_ids=ids).logits[0, -1].float()
            assert (logits - truth).norm() < 1.5 * (theirs - truth).norm()


def test_adapters_come_and_go_between_steps(harness: Harness, adapters: dict[str, Path]) -> None:
    """Steps of every arrangement: even, uneven, one reading its prompt, and places that fall empty."""
    voices = [None, *(harness.adapter(path, name) for name, path in adapters.items())]

    def make(number: int) -> Any:
        prompt = [(13 * number + 5 * place) % 250 for place in range(3 + number % 7 * 4)]
        return harness.sequence(prompt, adapter=voices[number % len(voices)], max_tokens=4 + number % 6)

    alone = [harness.run([make(number)])[0].tokens for number in range(20)]
    together = [result.tokens for result in harness.run([make(number) for number in range(20)])]
    assert together == alone
