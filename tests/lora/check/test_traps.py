"""Adapters that look loaded and are not: each is refused or flagged before anything is served, and a true one never."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firectl.lora.check.check import CheckReport, check
from firectl.lora.read.adapter import Adapter
from tests import tiny
from tests.lora.conftest import Make

WEIGHTS = "adapter_model.safetensors"


def edit(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return spoil


def configure(**fields: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return spoil


def without(share: float) -> Callable[[Path], None]:
    """Lose that share of the tensors, at least one."""

    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        names = sorted(tensors)
        return {name: tensors[name] for name in names[max(1, int(share * len(names))) :]}

    return edit(change)


def zero(*parts: str) -> Callable[[Path], None]:
    return edit(
        lambda tensors: {
            name: value * 0 if any(part in name for part in parts) else value for name, value in tensors.items()
        }
    )


def renamed(old: str, new: str) -> Callable[[Path], None]:
    return edit(lambda tensors: {name.replace(old, new): value for name, value in tensors.items()})


def both(*spoils: Callable[[Path], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for one in spoils:
            one(folder)

    return spoil


TRAPS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a renamed prefix": (renamed("base_model.model.", "model."), "does not begin with base_model.model."),
    "another class around the model": (renamed("model.model.layers", "model.model.decoder.layers"), "has no module"),
    "every B zero": (zero("lora_B"), "every B is zero: this adapter changes nothing"),
    "every A zero": (zero("lora_A"), "every A is zero: this adapter changes nothing"),
    "alpha zero": (configure(lora_alpha=0), "lora_alpha is zero: this adapter changes nothing"),
    "disjoint targets": (configure(target_modules=["c_attn", "c_proj"]), "which target_modules"),
    "targets that the base has not": (
        both(renamed("q_proj", "query"), configure(target_modules=["query", *tiny.ALL_TARGETS[1:]])),
        "has no module",
    ),
    "one key of a hundred missing": (without(0.01), "has no lora_"),
    "half of the keys missing": (without(0.5), "no tensors for"),
    "all keys missing": (without(1.0), "has no lora_A or lora_B tensor"),
    "rsLoRA's scaling lost on the service": (configure(use_rslora=True), "the hosted service ignores it"),
    "a head announced and not saved": (configure(modules_to_save=["lm_head"]), "has no tensor of 'lm_head'"),
    "trained on another base": (configure(base_model_name_or_path="org/other-7b"), "says that it is 'org/tiny'"),
    "trained on another task": (configure(task_type="SEQ_CLS"), "not CAUSAL_LM"),
}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, base: Make) -> Path:
    """A base that says what it is called."""
    folder = Path(shutil.copytree(base(), tmp_path_factory.mktemp("named") / "base"))
    config = json.loads((folder / "config.json").read_text()) | {"_name_or_path": "org/tiny"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def alarms(report: CheckReport) -> list[str]:
    return [f"{finding.where}: {finding.what}" for finding in report.errors + report.warnings]


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_refused_or_flagged(good: Path, named: Path, trap: str) -> None:
    spoil, said = TRAPS[trap]
    configure(base_model_name_or_path="org/tiny")(good)
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
    configure(base_model_name_or_path=name)(folder)
    assert alarms(check(folder, named, deep=True)) == []


def test_a_wrong_base_of_the_same_shape_is_seen_by_its_place_in_a_hub_cache(
    good: Path, base: Make, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--org--other" / "snapshots" / ("a" * 40)
    shutil.copytree(base(), snapshot)
    configure(base_model_name_or_path="org/tiny", revision="b" * 40)(good)
    assert alarms(check(good, snapshot)) == [
        "adapter_config.json: base_model_name_or_path: records 'org/tiny', the base model given says that it is "
        "'org/other'",
        "adapter_config.json: revision: records bbbbbbbbbbbb, the base model given is at aaaaaaaaaaaa",
    ]


def test_tokens_that_the_base_has_not_and_tokens_it_numbers_otherwise_are_flagged(good: Path, named: Path) -> None:
    configure(base_model_name_or_path="org/tiny")(good)
    shutil.copy(named / "tokenizer.json", good / "tokenizer.json")
    assert alarms(check(good, named)) == []
    tokenizer = json.loads((good / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 264, "content": "<|new|>"})
    (good / "tokenizer.json").write_text(json.dumps(tokenizer))
    (found,) = alarms(check(good, named))
    assert found == "tokenizer.json: has 1 tokens that the base model's does not have: '<|new|>'"
    del tokenizer["added_tokens"][-1]
    tokenizer["added_tokens"][0]["id"], tokenizer["added_tokens"][1]["id"] = 257, 256
    (good / "tokenizer.json").write_text(json.dumps(tokenizer))
    (found,) = alarms(check(good, named))
    assert found.startswith("tokenizer.json: gives 2 tokens other numbers than the base model's does")
    (good / "tokenizer.json").write_text("{}")
    (found,) = alarms(check(good, named))
    assert found == "tokenizer.json: tokenizer.json: it has no vocabulary"


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
    configure(base_model_name_or_path="org/tiny")(good)
    configure(**TRAINERS[trainer])(good)
    for name in ("README.md", "training_args.bin", "special_tokens_map.json", "trainer_state.json"):
        (good / name).write_bytes(b"{}")
    report = check(good, named, deep=True)
    assert alarms(report) == []
    assert report.facts["modules"] == 14


def test_names_that_an_old_peft_wrote_are_read_as_those_of_today(good: Path, named: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = good / "adapter_model.safetensors"
    expected = set(Adapter.open(good).modules)
    renamed = {name.replace(".weight", ".default.weight"): value for name, value in load_file(weights).items()}
    assert all("lora_A.default.weight" in name or "lora_B.default.weight" in name for name in renamed)
    save_file(renamed, weights)
    configure(base_model_name_or_path="org/tiny")(good)
    assert alarms(check(good, named, deep=True)) == []
    assert set(Adapter.open(good).modules) == expected


def test_the_services_own_file_belongs_to_the_adapter(good: Path) -> None:
    (good / "fireworks.json").write_text('{"conversation_config": {"style": "jinja", "args": {"template": "x"}}}')
    assert Adapter.open(good).files == ("adapter_config.json", "adapter_model.safetensors", "fireworks.json")
    assert check(good).facts["files"]["fireworks.json"] > 0
