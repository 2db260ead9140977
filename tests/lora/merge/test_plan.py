"""Which tensors a merge changes: heads tied and untied, several adapters, and what cannot be added up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError
from firectl.lora.merge.merge import merge
from firectl.lora.merge.plan import Weighted, plan_merge
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from tests.lora.conftest import Make
from tests.lora.merge.results import tensors_of


def test_a_tied_head_gets_a_tensor_of_its_own_when_the_adapter_parts_it_from_the_embedding(
    base: Make, adapter: Make, tmp_path: Path
) -> None:
    folder = base(tied=True, shards=2, dtype="bfloat16")
    lora = adapter(base(tied=True), targets=["q_proj", "lm_head"])
    record = merge(lora, folder, tmp_path / "out")
    assert record.untied is True
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"]["lm_head.weight"] == index["weight_map"]["model.embed_tokens.weight"]
    merged = BaseModel.open(tmp_path / "out")
    assert index["metadata"]["total_size"] == sum(info.nbytes for info in merged.tensors.values())
    before, after = tensors_of(folder), tensors_of(tmp_path / "out")
    factors = tensors_of(lora)
    a, b = (factors[f"base_model.model.lm_head.lora_{part}.weight"] for part in "AB")
    embedding = before["model.embed_tokens.weight"]
    assert (after["model.embed_tokens.weight"] == embedding).all()
    assert (after["lm_head.weight"] == (embedding.float() + 2.0 * (b @ a)).bfloat16()).all()


def test_a_tied_head_stays_tied_when_the_adapter_leaves_it_alone(base: Make, adapter: Make, tmp_path: Path) -> None:
    folder = base(tied=True)
    record = merge(adapter(folder), folder, tmp_path / "out")
    assert record.untied is False
    assert "lm_head.weight" not in tensors_of(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_a_saved_copy_of_a_tied_head_that_differs_from_the_base_is_refused(
    base: Make, adapter: Make, tmp_path: Path
) -> None:
    lora = adapter(base(tied=True), targets=["q_proj", "lm_head"])
    with pytest.raises(AdapterError, match=r"saved 'base_model\.model\.lm_head\.base_layer\.weight' with other values"):
        merge(lora, base(tied=True, seed=1), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def weighted(*adapters: tuple[Path, float]) -> list[Weighted]:
    return [Weighted(Adapter.open(path), weight) for path, weight in adapters]


def test_the_parts_of_several_adapters_are_added_to_each_tensor_once(base: Make, adapter: Make) -> None:
    opened = BaseModel.open(base())
    every, one = adapter(base()), adapter(base(), targets=["q_proj"], r=4, alpha=2)
    plan = plan_merge(weighted((every, 0.7), (one, -0.3)), opened)
    assert plan.edits.keys() == {name for name in opened.tensors if name.endswith("_proj.weight")}
    assert (plan.added, plan.same) == (None, ())
    parts = plan.edits["model.layers.0.self_attn.q_proj.weight"].parts
    assert [part.factor for part in parts] == [pytest.approx(0.7 * 2), pytest.approx(-0.3 * 0.5)]
    assert len(plan.edits["model.layers.0.self_attn.k_proj.weight"].parts) == 1
    assert plan.float32_work[1] == 8


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"dora": True}, "use_dora: DoRA scales whole weights"),
        ({"modules_to_save": ["embed_tokens"]}, "the adapter replaces 'model.embed_tokens.weight'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("alone", [True, False])
def test_what_replaces_whole_weights_cannot_be_weighted_or_added_up(
    base: Make, adapter: Make, options: dict[str, Any], what: str, alone: bool
) -> None:
    opened, lora = BaseModel.open(base()), adapter(base(), **options)
    plan_merge(weighted((lora, 1.0)), opened)
    chosen = weighted((lora, 0.5)) if alone else weighted((lora, 1.0), (adapter(base()), 1.0))
    with pytest.raises(AdapterError, match=f"{what}, which cannot be weighted or added up") as caught:
        plan_merge(chosen, opened)
    assert caught.value.hint == "merge it alone and with the weight 1"


def test_a_bias_of_lora_bias_is_an_edit_of_its_own(base: Make, adapter: Make) -> None:
    folder = base(arch="qwen2")
    lora = adapter(folder, lora_bias=True, targets=["q_proj"])
    edits = plan_merge(weighted((lora, 1.0)), BaseModel.open(folder)).edits
    at = "model.layers.0.self_attn.q_proj"
    assert [edits[f"{at}.{kind}"].is_bias for kind in ("weight", "bias")] == [False, True]
    assert [info.name.rpartition("q_proj.")[2] for info in edits[f"{at}.bias"].used] == ["lora_B.bias"]
    assert [info.name.rpartition("q_proj.")[2] for info in edits[f"{at}.weight"].used] == [
        "lora_A.weight",
        "lora_B.weight",
    ]
