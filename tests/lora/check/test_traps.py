"""Adapters that look loaded and are not: each is refused or flagged before anything is served, and a true one never."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from firectl.lora.check.check import check
from tests import tiny
from tests.lora.check.reports import alarms
from tests.lora.conftest import Make
from tests.lora.read.spoil import Raw, Spoil, config, in_turn, renamed, tensors


def without(share: float) -> Spoil:
    """Lose that share of the tensors, at least one."""

    def change(raw: Raw) -> None:
        for name in sorted(raw)[: max(1, int(share * len(raw)))]:
            del raw[name]

    return tensors(change)


def zero(part: str) -> Spoil:
    def change(raw: Raw) -> None:
        for name, (dtype, shape, data) in raw.items():
            if part in name:
                raw[name] = (dtype, shape, bytes(len(data)))

    return tensors(change)


TRAPS: dict[str, tuple[Spoil, str]] = {
    "a renamed prefix": (tensors(renamed("base_model.model.", "model.")), "does not begin with base_model.model."),
    "another class around the model": (
        tensors(renamed("model.model.layers", "model.model.decoder.layers")),
        "has no module",
    ),
    "every B zero": (zero("lora_B"), "every B is zero: this adapter changes nothing"),
    "every A zero": (zero("lora_A"), "every A is zero: this adapter changes nothing"),
    "alpha zero": (config(lora_alpha=0), "lora_alpha is zero: this adapter changes nothing"),
    "disjoint targets": (config(target_modules=["c_attn", "c_proj"]), "which target_modules"),
    "targets that the base has not": (
        in_turn(tensors(renamed("q_proj", "query")), config(target_modules=["query", *tiny.ALL_TARGETS[1:]])),
        "has no module",
    ),
    "one key of a hundred missing": (without(0.01), "has no lora_"),
    "half of the keys missing": (without(0.5), "no tensors for"),
    "all keys missing": (without(1.0), "has no lora_A or lora_B tensor"),
    "rsLoRA's scaling lost on the service": (config(use_rslora=True), "the hosted service ignores it"),
    "a head announced and not saved": (config(modules_to_save=["lm_head"]), "has no tensor of 'lm_head'"),
    "trained on another base": (config(base_model_name_or_path="org/other-7b"), "says that it is 'org/tiny'"),
    "trained on another task": (config(task_type="SEQ_CLS"), "not CAUSAL_LM"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_refused_or_flagged(good: Path, named: Path, trap: str) -> None:
    spoil, said = TRAPS[trap]
    config(base_model_name_or_path="org/tiny")(good)
    spoil(good)
    assert any(said in alarm for alarm in alarms(check(good, named, deep=True)))


@pytest.mark.parametrize("name", ["org/tiny", "unsloth/tiny-bnb-4bit", "Org/Tiny/"])
@pytest.mark.parametrize(
    "options", [{}, {"alpha_pattern": None, "dtype": "bfloat16"}, {"targets": ["q_proj"], "r": 64}]
)
def test_a_true_adapter_is_never_flagged(
    base: Make, adapter: Make, named: Path, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(adapter(base(), **options), tmp_path / "adapter"))
    config(base_model_name_or_path=name)(folder)
    assert alarms(check(folder, named, deep=True)) == []


BLOCKS = r"(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
PROJECTIONS = r"(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

TRAINERS: dict[str, dict[str, Any]] = {
    "Unsloth": {
        "auto_mapping": {
            "base_model_class": "LlamaForCausalLM",
            "parent_library": "transformers.models.llama.modeling_llama",
            "unsloth_fixed": True,
        },
        "base_model_name_or_path": "unsloth/tiny-bnb-4bit",
        "corda_config": None,
        "loftq_config": {},
        "lora_dropout": 0,
        "megatron_core": "megatron.core",
        "qalora_group_size": 16,
        "target_modules": rf"(?:.*?(?:language|text).*?{BLOCKS}.*?{PROJECTIONS}.*?)|"
        rf"(?:\bmodel\.layers\.[\d]{{1,}}\.{BLOCKS}\.(?:{PROJECTIONS}))",
    },
    "LLaMA-Factory": {
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "loftq_config": {},
        "megatron_config": None,
        "modules_to_save": None,
        "trainable_token_indices": None,
    },
    "Axolotl": {
        "eva_config": None,
        "fan_in_fan_out": None,
        "lora_bias": False,
        "lora_dropout": 0.05,
        "runtime_config": {"ephemeral_gpu_offload": False},
        "target_parameters": [],
    },
    "TRL": {
        "alora_invocation_tokens": None,
        "arrow_config": None,
        "ensure_weight_tying": False,
        "parent_library": None,
        "peft_version": "0.18.0",
        "revision": None,
        "use_qalora": False,
    },
    "an old PEFT": {"enable_lora": None, "merge_weights": False, "loftq_config": None, "rank_pattern": None},
}
"""The fields that each writes beside the common ones."""


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_the_common_trainers_write_is_taken(good: Path, named: Path, trainer: str) -> None:
    config(base_model_name_or_path="org/tiny")(good)
    config(**TRAINERS[trainer])(good)
    for name in ("README.md", "training_args.bin", "special_tokens_map.json", "trainer_state.json"):
        (good / name).write_bytes(b"{}")
    report = check(good, named, deep=True)
    assert alarms(report) == []
    assert report.facts["modules"] == 14
