"""A packed batch of base and adapters gives each row what PEFT gives it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.harness import Harness
from tests.tiny import GPT2_TARGETS, VOCAB, load_reference, make_adapter, make_base, write_tokenizer

PROMPTS = [[(31 * place + 7 * number) % 250 for place in range(length)] for number, length in enumerate((3, 17, 40))]
CUTS = {3: (0, 3), 17: (0, 16, 17), 40: (0, 9, 30, 31, 32, 40)}
"""In one piece; a prompt whose last token comes as a decode does; and in pieces of every kind."""


def reference(base: Path, adapter: Path | None) -> list[torch.Tensor]:
    model = load_reference(base, adapter)
    with torch.no_grad():
        return [model(input_ids=torch.tensor([prompt])).logits[0, -1] for prompt in PROMPTS]


def check_parity(base: Path, adapters: dict[str, Path]) -> None:
    """Every prompt on the base and on every adapter, all in one batch, against PEFT one by one."""
    harness = Harness(base, enable_lora=True)
    voices: list[Any] = [None, *(harness.adapter(path, name) for name, path in adapters.items())]
    sequences = [harness.sequence(prompt, adapter=voice) for prompt in PROMPTS for voice in voices]
    packed = harness.logits(sequences, [CUTS[len(sequence.prompt)] for sequence in sequences])
    base_logits = reference(base, None)
    for number, voice in enumerate(voices):
        expected = reference(base, voice.path) if voice else base_logits
        for place, logits in enumerate(packed[number :: len(voices)]):
            assert torch.allclose(logits, expected[place], rtol=0, atol=1e-4), (voice and voice.name, place)
            if voice:
                assert (logits - base_logits[place]).abs().max() > 0.05, f"{voice.name} changes nothing"


@pytest.mark.parametrize("arch", ["llama", "qwen2", "mistral", "qwen3", "gemma"])
def test_a_mixed_batch_agrees_with_peft_adapter_by_adapter(arch: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch=arch)
    adapters = {
        "small": make_adapter(tmp_path / "small", base, r=4, seed=1),
        "rslora": make_adapter(tmp_path / "rslora", base, r=64, rslora=True, seed=2),
        "attention": make_adapter(tmp_path / "attention", base, targets=("q_proj", "v_proj"), seed=3),
        "patterns": make_adapter(
            tmp_path / "patterns", base, rank_pattern={"down_proj": 16}, alpha_pattern={"q_proj": 4}, seed=4
        ),
    }
    check_parity(base, adapters)


def test_layers_that_store_their_weights_transposed_agree_with_peft(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch="gpt2")
    adapters = {
        "all": make_adapter(tmp_path / "all", base, targets=GPT2_TARGETS, fan_in_fan_out=True, seed=1),
        "some": make_adapter(tmp_path / "some", base, targets=("c_attn",), fan_in_fan_out=True, r=16, seed=2),
    }
    check_parity(base, adapters)


@pytest.mark.parametrize("window", [4, 16, 64])
def test_a_sliding_window_hides_what_lies_before_it(window: int, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch="mistral", config={"sliding_window": window})
    check_parity(base, {"all": make_adapter(tmp_path / "all", base, seed=1)})


def test_windows_and_full_attention_take_turns_by_layer(tmp_path: Path) -> None:
    config = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    base = make_base(tmp_path / "base", arch="qwen2", layers=3, config=config)
    check_parity(base, {"all": make_adapter(tmp_path / "all", base, seed=1)})


def test_a_mixture_of_experts_takes_adapters_of_its_attention(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", arch="mixtral")
    targets = ("q_proj", "k_proj", "v_proj", "o_proj")
    check_parity(base, {"attention": make_adapter(tmp_path / "attention", base, targets=targets, seed=1)})


@pytest.mark.parametrize("family", ["phi3", "gpt_neox"])
def test_a_family_that_turns_a_part_of_each_head_agrees_with_transformers(family: str, tmp_path: Path) -> None:
    """Its queries lie head by head in memory, not row by row."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    config = AutoConfig.for_model(family, vocab_size=VOCAB, pad_token_id=258, max_position_embeddings=512, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    check_parity(tmp_path, {})


def test_rows_without_an_adapter_keep_the_bits_of_the_base(harness: Harness, adapters: dict[str, Path]) -> None:
    prompts = [PROMPTS[2], PROMPTS[2]]
    cuts = [CUTS[40], CUTS[40]]
    alone = harness.logits([harness.sequence(prompt) for prompt in prompts], cuts)
    voice = harness.adapter(adapters["wide"])
    mixed = harness.logits([harness.sequence(prompts[0]), harness.sequence(prompts[1], adapter=voice)], cuts)
    assert torch.equal(mixed[0], alone[0])
    assert not torch.equal(mixed[1], alone[1])
