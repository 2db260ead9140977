"""A family that is not verified by a test is compared with transformers at load, and refused when it differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from firectl.engine.compute.transformers.load import read_any
from firectl.engine.compute.transformers.runner import TransformersRunner
from firectl.engine.compute.transformers.verify import VERIFIED, measure, run_packed, verify
from firectl.errors import AdapterError
from tests.engine.parity import check_parity
from tests.tiny import VOCAB, load_reference, make_base, write_tokenizer

CPU = torch.device("cpu")


def runner_of(folder: Path) -> TransformersRunner:
    runner = read_any(folder, torch.float32, CPU).runner
    assert isinstance(runner, TransformersRunner)
    return runner


@pytest.mark.parametrize("family", ["phi3", "gpt_neox"])
def test_a_family_that_turns_a_part_of_each_head_agrees_with_transformers(family: str, tmp_path: Path) -> None:
    """Its queries are stored head by head, not row by row."""
    from transformers import AutoConfig, AutoModelForCausalLM

    assert family not in VERIFIED
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    config = AutoConfig.for_model(family, vocab_size=VOCAB, pad_token_id=258, max_position_embeddings=512, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    check_parity(tmp_path, {})


def test_a_model_whose_packed_logits_differ_is_refused_with_the_difference(tmp_path: Path) -> None:
    packed = runner_of(make_base(tmp_path / "base"))
    other: Any = runner_of(make_base(tmp_path / "other", seed=1)).model
    verify(packed, packed.model)
    with pytest.raises(AdapterError, match=r"in a packed batch differ by \d+\.\d% \(at most 0\.1%"):
        verify(packed, other)


def test_a_token_is_measured_and_layers_without_the_packed_attention_are_refused(tmp_path: Path) -> None:
    runner = runner_of(make_base(tmp_path / "base"))
    # 2 layers of 2 heads of 16 floats of 4 bytes, for keys and for values.
    assert measure(runner, 2) == 2 * 2 * 16 * 4 * 2
    with pytest.raises(AdapterError, match="3 of the model's 5 layers do not use the attention interface"):
        measure(runner, 5)


def test_prompts_run_side_by_side_in_chunks_give_what_transformers_gives(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    prompts = [[1, 2, 3, 4, 5], [7, 8]]
    logits = run_packed(runner_of(base), prompts, [(0, 2, 5), (0, 1, 2)])
    for prompt, mine in zip(prompts, logits, strict=True):
        with torch.no_grad():
            theirs = load_reference(base)(input_ids=torch.tensor([prompt])).logits[0, -1]
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-4)
