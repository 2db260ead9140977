"""The folders that the tests stand on are what transformers, tokenizers and peft take them for."""

from __future__ import annotations

import json

import pytest

from firectl.lora.read.base_model import BaseModel
from tests import tiny
from tests.lora.conftest import Make


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_transformers_loads_a_base_with_no_key_too_many_or_too_few(base: Make, arch: str) -> None:
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(base(arch=arch), output_loading_info=True)
    assert not any(info.values())
    assert model.config.vocab_size == tiny.VOCAB
    opened = BaseModel.open(base(arch=arch))
    assert opened.tied is (arch in ("gpt2", "gemma"))
    assert opened.embedding == ("transformer.wte" if arch == "gpt2" else "model.embed_tokens")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_dtype_and_number_of_shards_holds_the_same_model(base: Make, dtype: str, shards: int) -> None:
    import torch

    folder = base(dtype=dtype, shards=shards)
    model = tiny.load_reference(folder, dtype=dtype)
    full = tiny.load_reference(base())
    for (name, mine), (_, whole) in zip(model.named_parameters(), full.named_parameters(), strict=True):
        assert mine.dtype == getattr(torch, dtype)
        assert torch.equal(mine, whole.to(mine.dtype)), name
    assert len(list(folder.glob("*.safetensors"))) == shards


def test_the_tokenizer_writes_bytes_and_the_chat_template_names_the_roles(base: Make) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base())
    assert tokenizer.encode("Hé") == list("Hé".encode())
    assert tokenizer.decode(tokenizer.encode("Hé \n 💡")) == "Hé \n 💡"
    messages = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<|bos|><|user|>Hi<|assistant|>"
    assert tokenizer.encode(text) == [256, 260, 72, 105, 261]
    assert (tokenizer.eos_token_id, len(tokenizer)) == (257, tiny.VOCAB)


def test_an_adapters_config_says_what_was_asked_for(base: Make, adapter: Make) -> None:
    config = json.loads((adapter(base(), r=4, alpha=2) / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], sorted(config["target_modules"])) == (4, 2, sorted(tiny.ALL_TARGETS))
