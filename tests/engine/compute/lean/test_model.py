"""The lean forward pass computes what transformers' code computes.

Proves `engine/compute/lean/model.py` through the engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from firectl.engine.compute.lean.runner import LeanRunner
from tests.engine.harness import Harness
from tests.engine.parity import CUTS, PROMPTS, check_parity, make_adapters
from tests.tiny import load_reference, make_adapter, make_base

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize("arch", ["llama", "qwen2", "mistral", "qwen3"])
def test_a_mixed_batch_agrees_with_peft_adapter_by_adapter(arch: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch=arch)
    check_parity(base, make_adapters(tmp_path, base))


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
