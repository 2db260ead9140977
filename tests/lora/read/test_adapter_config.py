"""What an adapter_config.json means: its targets are those of PEFT, and malformed or unknown fields are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.errors import AdapterError
from firectl.lora.read.adapter_config import parse_config
from firectl.lora.read.folder import (
    read_json,
)
from tests.lora.read.fuzzing import MANY, answer, json_values
from tests.lora.read.spoil import (
    CONFIG,
    WEIGHTS,
    Spoil,
    config,
    config_text,
)
from tests.lora.read.test_patterns import NAMES, UNSLOTH

CONFIGS: dict[str, tuple[Spoil, str]] = {
    "MLX": (
        lambda folder: (
            (folder / WEIGHTS).rename(folder / "adapters.safetensors"),
            config_text('{"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 8}}')(folder),
        ),
        "MLX adapter",
    ),
    "another method": (config(peft_type="IA3"), "peft_type is 'IA3'"),
    "no method": (config(peft_type=...), "peft_type is missing"),
    "r 0": (config(r=0), "adapter_config.json: r is 0, not a whole number of at least 1"),
    "r negative": (config(r=-8), "r is -8"),
    "r a text": (config(r="8"), "r is '8', not a whole number"),
    "r a fraction": (config(r=8.0), r"r is 8\.0, not a whole number"),
    "r true": (config(r=True), "r is true"),
    "rank_pattern with 0": (config(rank_pattern={"k_proj": 0}), r"rank_pattern\['k_proj'\] is 0"),
    "rank_pattern a list": (config(rank_pattern=[8]), "rank_pattern is a list, not an object"),
    "alpha a text": (config(lora_alpha="16"), "lora_alpha is '16', not a number"),
    "alpha huge": (config(lora_alpha=10**400), "lora_alpha is 1000"),
    "alpha_pattern a text": (config(alpha_pattern={"k_proj": "x"}), r"alpha_pattern\['k_proj'\] is 'x'"),
    "use_rslora a text": (config(use_rslora="yes"), "use_rslora is 'yes', not true or false"),
    "bias unknown": (config(bias="some"), "bias is 'some', not one of none, all, lora_only"),
    "no targets": (config(target_modules=None), "target_modules is missing"),
    "targets of numbers": (config(target_modules=[1]), "target_modules is a list, not a list of names"),
    "targets an object": (config(target_modules={"q_proj": 1}), "target_modules is an object"),
    "targets no pattern": (config(target_modules="*q_proj"), "'\\*q_proj' is not a regular expression"),
    "targets a slow pattern": (config(target_modules=r"(\w+\.?)+!"), "could take too long to match"),
    "targets another slow pattern": (config(target_modules=".*" * 30 + "!"), "could take too long to match"),
    "layers of a pattern": (
        config(target_modules=".*proj", layers_to_transform=[0]),
        "layers_to_transform and layers_pattern need target_modules to be a list",
    ),
    "layers a text": (config(layers_to_transform="0"), "layers_to_transform is '0'"),
    "activated LoRA": (config(alora_invocation_tokens=[1]), "alora_invocation_tokens is set"),
    "layers repeated": (config(layer_replication=[[0, 2], [1, 2]]), "layer_replication is set"),
    "single tokens": (config(trainable_token_indices=[5]), "trainable_token_indices is set"),
    "parameters": (config(target_parameters=["mlp.experts.down_proj"]), "target_parameters is set"),
    "QA-LoRA": (config(use_qalora=True), "use_qalora is set"),
    "PiSSA": (config(init_lora_weights="pissa_niter_16"), "base weights that were changed"),
    "LoftQ": (config(init_lora_weights="loftq"), "base weights that were changed"),
    "CorDA": (config(init_lora_weights="corda"), "base weights that were changed"),
    "VeLoRA": (config(velora_config={"rank": 1}), "velora_config is set"),
    "a text for modules_to_save": (config(modules_to_save="lm_head"), "modules_to_save is 'lm_head', not a list"),
    "alpha a list": (config(lora_alpha=[16]), "lora_alpha is a list, not a number"),
    "excluded a number": (config(exclude_modules=3), "exclude_modules is 3"),
    "layers_pattern alone": (config(layers_pattern="layers"), "layers_pattern needs layers_to_transform"),
    "fan_in_fan_out a number": (config(fan_in_fan_out=1), "fan_in_fan_out is 1, not true or false"),
    "a base name that is a number": (config(base_model_name_or_path=7), "base_model_name_or_path is 7, not a string"),
    "a revision that is a list": (config(revision=["main"]), "revision is a list, not a string"),
}
"""Case → how to spoil an adapter for it, and the message."""


@pytest.mark.parametrize("case", CONFIGS)
def test_a_malformed_or_unsupported_field_is_refused_by_name(good: Path, case: str) -> None:
    spoil, message = CONFIGS[case]
    spoil(good)
    with pytest.raises(AdapterError, match=message):
        parse_config(read_json(good / CONFIG)).targets.matcher(64)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["q_proj", "block_sparse_moe.gate", "w1"]},
        {"target_modules": ["proj"]},
        {"target_modules": ["model.layers.1.self_attn.q_proj", "up_proj"]},
        {"target_modules": ["layers.1.mlp.up_proj"]},
        {"target_modules": r".*\.(q|k)_proj"},
        {"target_modules": r".*q_proj|lm_head"},
        {"target_modules": r"model\.layers\.1[02]\..*"},
        {"target_modules": UNSLOTH},
        {"target_modules": ["q_proj", "w1"], "layers_to_transform": [1, 10]},
        {"target_modules": ["q_proj", "model.layers.0.mlp.up_proj"], "layers_to_transform": 2},
        {"target_modules": ["q_proj"], "layers_to_transform": []},
        {"target_modules": ["q_proj", "c_attn"], "layers_to_transform": [3], "layers_pattern": "h"},
        {"target_modules": ["q_proj", "c_attn"], "layers_to_transform": [1, 3], "layers_pattern": ["h", "layers"]},
        {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["model.layers.0.self_attn.q_proj", "up_proj"]},
        {"target_modules": ["q_proj", "up_proj"], "exclude_modules": r".*\.layers\.1.*"},
        {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["q_proj", "up_proj"], "modules_to_save": ["mlp"]},
    ],
    ids=str,
)
def test_targets_are_those_that_peft_finds(fields: dict[str, Any]) -> None:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    theirs = LoraConfig(**fields)
    targeted = parse_config({"peft_type": "LORA", **fields}).targets.matcher(64)
    assert [name for name in NAMES if targeted(name)] == [
        name for name in NAMES if check_target_module_exists(theirs, name)
    ]


def test_a_config_of_a_common_trainer_is_read_with_the_fields_it_adds(tmp_path: Path) -> None:
    config = parse_config(
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": 16,
            "lora_alpha": 32.0,
            "target_modules": ["q_proj"],
            "unsloth_fixed": True,
            "auto_mapping": {"base_model_class": "LlamaForCausalLM"},
            "loftq_config": {},
            "megatron_core": "megatron.core",
            "qalora_group_size": 16,
            "init_lora_weights": "gaussian",
            "layers_to_transform": None,
            "modules_to_save": [],
            "some_new_field": {"a": [1, None]},
        }
    )
    assert (config.r, config.alpha, config.targets.modules) == (16, 32.0, ("q_proj",))
    assert config.scaling(16, config.alpha) == 2.0


def test_features_are_the_fields_that_a_plain_lora_does_not_have() -> None:
    plain = {"peft_type": "LORA", "target_modules": ["q_proj"], "r": 4, "lora_alpha": 8}
    assert parse_config(plain).features == ()
    more = {"use_rslora": True, "bias": "all", "rank_pattern": {"k_proj": 2}, "modules_to_save": ["lm_head"]}
    config = parse_config({**plain, **more})
    assert config.features == ("use_rslora", "bias", "rank_pattern", "modules_to_save")
    assert config.scaling(4, 8) == 4.0  # rsLoRA divides by the root of the rank


FIELDS = (
    *("r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *("bias", "use_dora", "use_rslora", "lora_bias", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
    *("base_model_name_or_path", "task_type", "init_lora_weights", "ensure_weight_tying", "peft_type"),
)


@MANY
@given(changes=st.dictionaries(st.sampled_from(FIELDS), json_values, min_size=1, max_size=3))
def test_any_values_in_the_fields_of_a_config(changes: dict[str, Any]) -> None:
    document = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], **changes}
    config = answer(lambda: parse_config(document), "adapter_config.json: ")
    if config is not None:
        assert config.r >= 1
        targets = config.targets
        assert answer(lambda: targets.matcher(32)("layers.0.q_proj"), "adapter_config.json: ") in (True, False, None)
