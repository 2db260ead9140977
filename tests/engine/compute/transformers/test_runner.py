"""The runner of any family: a packed batch of base and adapters gives each row what PEFT gives it alone.

Proves `engine/compute/transformers/runner.py` through the engine.
"""

from __future__ import annotations

from pathlib import Path

import torch

from firectl.engine.compute.transformers.load import read_any
from firectl.engine.compute.transformers.runner import TransformersRunner
from firectl.engine.compute.transformers.verify import run_packed
from tests.engine.parity import check_parity, make_adapters
from tests.tiny import GPT2_TARGETS, make_adapter, make_base


def test_it_knows_which_layers_attended_and_forgets_its_memory(tmp_path: Path) -> None:
    runner = read_any(make_base(tmp_path / "base", arch="gemma"), torch.float32, torch.device("cpu")).runner
    assert isinstance(runner, TransformersRunner)
    assert runner.step.store.bytes_per_token == 0
    run_packed(runner, [[1, 2, 3]], [(0, 3)])
    assert len(runner.step.layers) == 2
    assert runner.step.store.bytes_per_token == runner.kv_bytes_per_token == 2 * 2 * 16 * 4 * 2
    runner.forget()
    assert runner.step.store.bytes_per_token == 0


def test_a_mixed_batch_agrees_with_peft_adapter_by_adapter(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch="gemma")
    check_parity(base, make_adapters(tmp_path, base))


def test_layers_that_store_their_weights_transposed_agree_with_peft(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch="gpt2")
    adapters = {
        "all": make_adapter(tmp_path / "all", base, targets=GPT2_TARGETS, fan_in_fan_out=True, seed=1),
        "some": make_adapter(tmp_path / "some", base, targets=("c_attn",), fan_in_fan_out=True, r=16, seed=2),
    }
    check_parity(base, adapters)


def test_a_mixture_of_experts_takes_adapters_of_its_attention(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch="mixtral")
    targets = ("q_proj", "k_proj", "v_proj", "o_proj")
    check_parity(base, {"attention": make_adapter(tmp_path / "attention", base, targets=targets, seed=1)})
