"""The service's limits: ranks, target modules, the head; and what only a merge applies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firectl.lora.check.check import check
from firectl.lora.check.rules import is_allowed_target, merge_only
from firectl.lora.merge.merge import merge
from firectl.lora.read.adapter import Adapter
from tests import tiny
from tests.lora.check.reports import said
from tests.lora.conftest import Make
from tests.lora.read.spoil import config


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
def test_what_the_hosted_service_ignores_is_a_warning(
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


def test_the_advice_for_a_module_off_the_list_is_a_merge_only_where_one_can_be(good: Path, base: Make) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(good / "adapter_model.safetensors")
    unknown = {name.replace("q_proj", "qq_proj"): tensor for name, tensor in tensors.items()}
    save_file(unknown, good / "adapter_model.safetensors")
    config(target_modules=["qq_proj", *tiny.ALL_TARGETS])(good)
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


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("model.layers.0.self_attn.q_proj", True),
        ("model.layers.0.block_sparse_moe.experts.1.w1", True),
        ("model.layers.0.block_sparse_moe.gate", True),
        ("model.layers.0.mlp.w1", False),
        ("model.layers.0.mlp.gate", False),
        ("lm_head", False),
    ],
)
def test_the_service_accepts_projections_experts_and_the_router(module: str, allowed: bool) -> None:
    assert is_allowed_target(module) is allowed


def test_what_only_a_merge_applies_is_listed_by_field(base: Make, adapter: Make) -> None:
    lora = Adapter.open(adapter(base(), targets=["q_proj", "lm_head"], modules_to_save=["embed_tokens"]))
    assert [(finding.where, finding.what) for finding in merge_only(lora)] == [
        (
            "adapter_config.json: modules_to_save",
            "'model.embed_tokens.weight' cannot be replaced in multi-LoRA",
        ),
        ("adapter_config.json: target_modules", "'lm_head' cannot be adapted in multi-LoRA"),
    ]
    assert merge_only(Adapter.open(adapter(base(), rslora=True))) == []
