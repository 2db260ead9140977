"""The report of a check: facts, the service's rules, and which way of deploying takes the adapter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import CheckReport, check, raise_for_errors
from firectl.lora.merge.merge import merge
from firectl.lora.read.base_model import BaseModel
from tests import tiny
from tests.lora.conftest import Make


def said(report: CheckReport, severity: str) -> list[tuple[str, str]]:
    return [(finding.where, finding.what) for finding in report.findings if finding.severity == severity]


def test_a_sound_adapter_gets_its_facts_and_both_ways(base: Make, adapter: Make) -> None:
    folder = adapter(base())
    report = check(folder, base(), deep=True)
    assert report.ok
    assert (report.live_merge, report.multi_lora) == (True, True)
    assert report.facts == {
        "format": "safetensors",
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        "size": sum(path.stat().st_size for path in folder.iterdir()),
        "r": 8,
        "ranks": [8],
        "alpha": 16,
        "scaling": [2.0],
        "target_modules": sorted(tiny.ALL_TARGETS),
        "modules": 14,
        "parameters": 2 * 8 * (4 * 64 + 64 + 32 + 32 + 64 + 3 * 192),
        "dtypes": ["F32"],
        "features": [],
        "base_model": str(base()),
        "fits": {"model_type": "llama", "tied": False, "tensors": 21},
    }
    assert said(report, "warning") == [
        (
            "adapter_config.json: base_model_name_or_path",
            f"records the path '{base()}', which says nothing on another machine",
        )
    ]


def test_the_document_is_json_and_says_the_same(base: Make, adapter: Make) -> None:
    report = check(adapter(base()), base(hidden=128))
    document = json.loads(json.dumps(report.to_document()))
    assert (document["valid"], document["live_merge"], document["multi_lora"]) == (False, False, False)
    assert document["adapter"]["r"] == 8
    assert document["findings"][0] == {
        "severity": "error",
        "where": "'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight'",
        "what": "the adapter changes a weight of shape [64, 128], the base model's "
        "'model.layers.0.mlp.down_proj.weight' has [128, 128]",
        "todo": "use the base model that the adapter was trained on",
    }


def test_errors_can_be_raised_with_all_of_them_in_the_details(base: Make, adapter: Make) -> None:
    report = check(adapter(base()), base(hidden=128))
    assert len(report.errors) == 14
    with pytest.raises(AdapterError, match=r"down_proj\.weight' has \[128, 128\] \(and 13 more\)") as caught:
        raise_for_errors(report)
    assert caught.value.hint == "use the base model that the adapter was trained on"
    assert len(caught.value.details) == 14
    raise_for_errors(check(adapter(base()), base()))


@pytest.mark.parametrize(("rank", "ok"), [(1, False), (3, False), (4, True), (64, True), (65, False)])
def test_ranks_from_4_to_64_are_served_and_a_merge_takes_any(
    base: Make, adapter: Make, tmp_path: Path, rank: int, ok: bool
) -> None:
    folder = adapter(base(), r=rank, targets=["q_proj"])
    report = check(folder, base())
    assert report.ok is ok
    expected = [] if ok else [f"the rank of 'model.layers.0.self_attn.q_proj' is {rank}; ranks from 4 to 64 are served"]
    assert [what for _, what in said(report, "error")] == expected
    assert check(folder, base(), rules=False).ok
    merge(folder, base(), tmp_path / "out")


def test_the_rank_of_a_pattern_counts_too(base: Make, adapter: Make) -> None:
    report = check(adapter(base(), rank_pattern={"k_proj": 2}), base())
    assert said(report, "error") == [
        (
            "adapter_config.json: rank_pattern",
            "the rank of 'model.layers.0.self_attn.k_proj' is 2; ranks from 4 to 64 are served",
        )
    ]


@pytest.mark.parametrize(
    ("arch", "targets", "module"),
    [
        ("llama", ["q_proj", "embed_tokens"], "model.embed_tokens"),
        ("gpt2", ["c_attn"], "transformer.h.0.attn.c_attn"),
    ],
)
def test_a_module_off_the_list_is_refused_by_name_and_a_merge_takes_it(
    base: Make, adapter: Make, tmp_path: Path, arch: str, targets: list[str], module: str
) -> None:
    folder = adapter(base(arch=arch), targets=targets)
    report = check(folder, base(arch=arch))
    ((where, what),) = said(report, "error")
    assert where == "adapter_config.json: target_modules"
    assert what.startswith(f"'{module}'")
    assert "supported are q_proj, k_proj, v_proj, o_proj, up_proj, down_proj, gate_proj" in what
    merge(folder, base(arch=arch), tmp_path / "out")


@pytest.mark.parametrize(
    ("arch", "ok"), [("llama", True), ("mistral", True), ("qwen2", True), ("qwen3", False), ("gemma", False)]
)
def test_a_head_is_for_live_merge_alone_and_on_three_architectures(
    base: Make, adapter: Make, arch: str, ok: bool
) -> None:
    folder = adapter(base(arch=arch), targets=["q_proj", "lm_head"])
    report = check(folder, base(arch=arch))
    assert (report.ok, report.live_merge, report.multi_lora) == (ok, ok, False)
    if ok:
        finding = next(finding for finding in report.findings if "multi-LoRA" in finding.what)
        assert finding.what == "'lm_head' cannot be adapted in multi-LoRA"
        assert finding.todo == "live merge applies it: deploy the adapter itself"
    else:
        assert said(report, "error") == [
            (
                "adapter_config.json: target_modules",
                f"lm_head can be adapted on llama, mistral, qwen2, not on '{arch}'",
            )
        ]
    assert (
        "adapter_config.json: target_modules",
        "lm_head is adapted, which works by live merge and on llama, mistral, qwen2 only",
    ) in said(check(folder), "warning")


@pytest.mark.parametrize(
    ("options", "field", "multi_lora"),
    [
        ({"rslora": True}, "use_rslora", True),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern", True),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern", True),
        ({"dora": True}, "use_dora", False),
        ({"bias": "all"}, "bias", False),
        ({"lora_bias": True, "targets": ["q_proj"]}, "lora_bias", False),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save", False),
    ],
    ids=str,
)
def test_what_the_hosted_service_loses_is_said_and_which_way_applies_it_here(
    base: Make, adapter: Make, options: dict[str, Any], field: str, multi_lora: bool
) -> None:
    folder = base(arch="qwen2")
    report = check(adapter(folder, **options), folder)
    assert report.ok
    assert (f"adapter_config.json: {field}", "is applied here, but the hosted service ignores it") in said(
        report, "warning"
    )
    assert (report.live_merge, report.multi_lora) == (True, multi_lora)
    notes = [finding for finding in report.findings if finding.where == f"adapter_config.json: {field}"]
    if not multi_lora:
        assert notes[-1].todo == "live merge applies it: deploy the adapter itself"


def test_an_untrained_adapter_is_flagged_as_doing_nothing(base: Make, adapter: Make) -> None:
    folder = adapter(base(), scale=0.0)
    assert ("adapter", "every B is zero: this adapter changes nothing") in said(check(folder, deep=True), "warning")
    assert all(where != "adapter" for where, _ in said(check(folder), "warning"))
    assert all(where != "adapter" for where, _ in said(check(adapter(base()), deep=True), "warning"))


def test_an_adapter_with_some_silent_modules_is_only_noted(good: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(good / "adapter_model.safetensors")
    for name in list(tensors):
        if "q_proj.lora_B" in name:
            tensors[name] = tensors[name] * -0.0
    save_file(tensors, good / "adapter_model.safetensors")
    report = check(good, deep=True)
    assert ("'model.layers.0.self_attn.q_proj'", "2 of 14 modules are not changed") in said(report, "note")
    assert all(where != "adapter" for where, _ in said(report, "warning"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "largest", "smallest"])
def test_every_number_that_is_none_is_found_and_no_other(good: Path, dtype: str, value: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    wanted = getattr(torch, dtype)
    numbers = {"largest": torch.finfo(wanted).max, "smallest": torch.finfo(wanted).smallest_normal}
    number = numbers[value] if value in numbers else float(value)
    tensors = {name: tensor.to(wanted) for name, tensor in load_file(good / "adapter_model.safetensors").items()}
    name = "base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight"
    tensors[name][-1, -1] = number
    tensors[name][0, 0] = -number
    save_file(tensors, good / "adapter_model.safetensors")
    found = said(check(good, deep=True), "error")
    assert found == ([] if value in numbers else [(f"'{name}'", "holds NaN or infinity")])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ["no base model is recorded"]),
        ("", ["no base model is recorded"]),
        ("/data/llama", ["records the path '/data/llama', which says nothing on another machine"]),
        ("./out", ["records the path './out', which says nothing on another machine"]),
        (r"C:\llama", [r"records the path 'C:\llama', which says nothing on another machine"]),
        ("meta-llama/Llama-3.1-8B", []),
    ],
)
def test_a_base_that_is_not_recorded_or_a_path_is_only_a_warning(
    good: Path, base: Make, name: str | None, expected: list[str]
) -> None:
    path = good / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": name}))
    report = check(good, base())
    assert report.ok
    assert [what for _, what in said(report, "warning")] == expected


def test_old_key_names_are_read_as_the_new_ones(good: Path, base: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(good / "adapter_model.safetensors")
    merge(good, base(), tmp_path / "new")
    renamed = {name.replace(".weight", ".default.weight"): tensor for name, tensor in tensors.items()}
    save_file(renamed, good / "adapter_model.safetensors")
    assert check(good, base()).ok
    merge(good, base(), tmp_path / "old")
    weights = [(tmp_path / age / "model.safetensors").read_bytes() for age in ("new", "old")]
    assert weights[0] == weights[1]


def test_an_opened_base_can_be_used_for_many_checks(base: Make, adapter: Make) -> None:
    opened = BaseModel.open(base())
    assert check(adapter(base()), opened).to_document() == check(adapter(base()), base()).to_document()


def test_folders_given_the_wrong_way_round_or_missing_are_named(base: Make, adapter: Make, tmp_path: Path) -> None:
    swapped = check(base(), adapter(base())).errors[0]
    assert (swapped.what, swapped.todo) == (
        "adapter_config.json is missing from the adapter's folder",
        "this is a base model; give the folder of the adapter",
    )
    twice = check(adapter(base()), adapter(base())).errors[0]
    assert (twice.where, twice.todo) == ("base model", "this is an adapter; give the folder of its base model")
    assert check(tmp_path / "none").errors[0].what == f"adapter folder {tmp_path / 'none'} does not exist"
    (tmp_path / "file").write_text("")
    assert check(tmp_path / "file").errors[0].what == f"adapter {tmp_path / 'file'} is a file, not a folder"


def test_a_wrong_base_is_refused_by_shape_by_layers_and_by_architecture(base: Make, adapter: Make) -> None:
    folder = adapter(base())
    assert "has [128, 128]" in check(folder, base(hidden=128)).errors[0].what
    assert check(folder, base(layers=3)).errors[0].what.startswith("the adapter has no tensors for 'model.layers.2.")
    assert check(folder, base(layers=1)).errors[0].what.startswith("the base model has no module 'model.layers.1.")
    assert check(folder, base(arch="gpt2")).errors[0].what.startswith("the base model has no module 'model.layers.0.")


def test_a_check_imports_nothing_heavy(base: Make, adapter: Make, tmp_path: Path) -> None:
    """The platform and the command line check adapters without torch; so does a machine that has none."""
    folder = Path(shutil.copytree(adapter(base()), tmp_path / "adapter"))
    code = (
        "import sys; from pathlib import Path; from firectl.lora.check.check import check\n"
        "from firectl.lora.read import adapter, base_model, hashing\n"
        "from firectl.lora.check import rules\n"
        "report = check(Path(sys.argv[1]), Path(sys.argv[2]), deep=True)\n"
        "hashing.content_hash(Path(sys.argv[1]))\n"
        "heavy = {'torch', 'numpy', 'safetensors', 'transformers', 'peft', 'pydantic', 'httpx', 'click', 'rich'}\n"
        "print(report.ok, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder, base()], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "True []\n"


def configured(good: Path, **fields: Any) -> Path:
    """The adapter, with these fields in its config."""
    path = good / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return good


def test_targets_without_tensors_are_said(good: Path, base: Make) -> None:
    where = "adapter_config.json: target_modules"
    configured(good, target_modules=[*tiny.ALL_TARGETS, "c_attn", "self_attn.qkv"])
    alone = check(good)
    assert (where, "names 'c_attn', 'self_attn.qkv', for which the adapter has no tensors") in said(alone, "warning")
    beside = check(good, base())
    assert beside.ok
    assert (where, "names 'c_attn', 'self_attn.qkv', which neither the adapter nor the base model has") in said(
        beside, "note"
    )
    assert where not in [finding.where for finding in beside.warnings]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"targets": ["q_proj", "lm_head"], "modules_to_save": ["embed_tokens"]},
        {"targets": ["model.layers.0.self_attn.q_proj", "mlp.up_proj"]},
    ],
    ids=str,
)
def test_targets_that_have_their_tensors_are_not_talked_of(base: Make, adapter: Make, options: dict[str, Any]) -> None:
    folder = adapter(base(), **options)
    for report in (check(folder), check(folder, base())):
        assert not [finding for finding in report.findings if finding.what.startswith("names ")]


def test_an_alpha_of_zero_is_found_without_reading_the_weights(good: Path, base: Make) -> None:
    configured(good, lora_alpha=0)
    for report in (check(good), check(good, base()), check(good, base(), deep=True)):
        (found,) = [finding for finding in report.warnings if finding.where == "adapter"]
        assert found.what == "lora_alpha is zero: this adapter changes nothing"
        assert found.todo == "write the lora_alpha that it was trained with"
    configured(good, lora_alpha=16, alpha_pattern={"q_proj": 0})
    assert ("'model.layers.0.self_attn.q_proj'", "2 of 14 modules are not changed") in said(check(good), "note")


def test_the_advice_for_a_module_off_the_list_is_a_merge_only_where_one_can_be(good: Path, base: Make) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(good / "adapter_model.safetensors")
    unknown = {name.replace("q_proj", "qq_proj"): tensor for name, tensor in tensors.items()}
    save_file(unknown, good / "adapter_model.safetensors")
    configured(good, target_modules=["qq_proj", *tiny.ALL_TARGETS])
    (alone,) = check(good).errors
    assert alone.what.startswith("'model.layers.0.self_attn.qq_proj', 'model.layers.1.self_attn.qq_proj' cannot be ")
    assert alone.todo == (
        "firectl lora merge ADAPTER --base-model DIR --out OUT takes any module that the base model has; "
        "firectl model create MODEL_ID OUT makes the result a base"
    )
    beside = check(good, base()).errors
    assert beside[0].what.startswith("the base model has no module 'model.layers.0.self_attn.qq_proj'")
    assert "lora merge" not in " ".join(finding.todo or "" for finding in beside)


def test_a_head_that_is_refused_on_its_base_can_be_merged(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(arch="qwen3")
    lora = adapter(folder, targets=["q_proj", "lm_head"])
    (error,) = check(lora, folder).errors
    assert (error.todo or "").startswith("firectl lora merge ADAPTER --base-model DIR --out OUT takes any module ")
    merge(lora, folder, tmp_path / "out")
