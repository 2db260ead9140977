"""The factors that an engine gets: those of PEFT, and only for what they say completely."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError
from firectl.lora.read.base_model import BaseModel
from firectl.lora.weights import load_weights
from tests import tiny
from tests.lora.conftest import Make
from tests.lora.read.test_bin_file import save_as_bin


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"r": 64, "alpha": 7},
        {"rslora": True},
        {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"k_proj": 5, "layers.1.*": 3}},
        {"targets": "all-linear"},
    ],
    ids=str,
)
def test_scaling_b_a_is_the_change_that_peft_makes(base: Make, adapter: Make, options: dict[str, Any]) -> None:
    folder = adapter(base(), **options)
    loaded = load_weights(folder, BaseModel.open(base()), "float32")
    peft = tiny.load_reference(base(), folder)
    theirs = {
        name.removeprefix("base_model.model."): module.get_delta_weight("default")
        for name, module in peft.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    assert loaded.keys() == theirs.keys()
    for name, (a, b, scaling) in loaded.items():
        assert ((a @ b).T * scaling - theirs[name]).abs().max() < 1e-6, name


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_factors_come_in_the_dtype_asked_for(base: Make, adapter: Make, stored: str) -> None:
    import torch

    folder = adapter(base(), dtype=stored)
    kept = load_weights(folder)["model.layers.0.self_attn.q_proj"]
    assert kept.a.dtype == kept.b.dtype == getattr(torch, stored)
    half = load_weights(folder, dtype=torch.float16)["model.layers.0.self_attn.q_proj"]
    assert half.a.dtype == half.b.dtype == torch.float16
    assert torch.equal(half.b, kept.b.half())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dora": True}, "use_dora: is not applied in multi-LoRA"),
        ({"lora_bias": True, "targets": ["q_proj"]}, "lora_bias: is not applied in multi-LoRA"),
        ({"bias": "all"}, r"bias: 'model\.layers\.0\.self_attn\.k_proj\.bias', .* cannot be replaced in multi-LoRA"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save: 'lm_head\.weight' cannot be replaced in multi-LoRA"),
        ({"targets": ["q_proj", "lm_head"]}, "target_modules: 'lm_head' cannot be adapted in multi-LoRA"),
        ({"targets": ["embed_tokens"]}, r"target_modules: 'model\.embed_tokens' cannot be adapted in multi-LoRA"),
    ],
    ids=str,
)
def test_what_cannot_be_applied_exactly_is_refused_by_name_with_the_way_that_works(
    base: Make, adapter: Make, options: dict[str, Any], message: str
) -> None:
    folder = base(arch="qwen2")
    with pytest.raises(AdapterError, match=message) as caught:
        load_weights(adapter(folder, **options), BaseModel.open(folder))
    assert caught.value.hint == "live merge applies it: deploy the adapter itself"


def test_an_adapter_of_another_base_is_refused(base: Make, adapter: Make) -> None:
    with pytest.raises(AdapterError, match=r"the base model's .* has \[128, 128\]"):
        load_weights(adapter(base()), BaseModel.open(base(hidden=128)))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_the_tensors_outlive_their_files(good: Path, kind: str) -> None:
    """An upload may be deleted or overwritten while its adapter serves."""
    import torch

    path = (save_as_bin(good) if kind == "bin" else good) / f"adapter_model.{kind}"
    loaded = load_weights(good)
    before = {name: (a.clone(), b.clone()) for name, (a, b, _) in loaded.items()}
    path.write_bytes(b"\xff" * path.stat().st_size)
    os.truncate(path, 5)
    shutil.rmtree(good)
    for name, (a, b, _) in loaded.items():
        assert torch.equal(a, before[name][0])
        assert torch.equal(b, before[name][1])
