"""Whether an adapter fits its base: by shape, by layer, by name, and which targets have no tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.check.fit import require_fit
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import BaseModel
from tests import tiny
from tests.lora.check.reports import said
from tests.lora.conftest import Make
from tests.lora.read.spoil import (
    Q,
    Spoil,
    config,
    renamed,
    tensors,
    zeros,
)

MISFITS: dict[str, tuple[Spoil, str]] = {
    "targets more than there are": (
        config(target_modules=[*tiny.ALL_TARGETS, "lm_head"]),
        "no tensors for 'lm_head', which target_modules names",
    ),
    "a layer missing": (
        tensors(lambda raw: [raw.pop(f"{Q}.lora_{part}.weight") for part in "AB"]),
        "no tensors for 'model.layers.0.self_attn.q_proj', which target_modules names",
    ),
    "half of the layers missing": (
        tensors(lambda raw: [raw.pop(name) for name in list(raw) if ".layers.1." in name]),
        r"no tensors for 'model.layers.1.self_attn.q_proj', .* and 4 more, which target_modules names",
    ),
    "a compiled model's prefix": (
        tensors(renamed("base_model.model.", "base_model.model._orig_mod.")),
        "the base model has no module '_orig_mod.model.layers.0",
    ),
    "another model's names": (
        tensors(renamed("model.layers", "model.language_model.layers")),
        "the base model has no module 'model.language_model.layers.0",
    ),
    "a layer that the base has not": (
        tensors(lambda raw: raw.update({name.replace(".1.", ".2."): raw[name] for name in raw if ".1." in name})),
        "the base model has no module 'model.layers.2",
    ),
    "A too wide": (
        tensors(zeros(f"{Q}.lora_A.weight", 8, 65)),
        r"the adapter changes a weight of shape \[64, 65\], .*q_proj.weight' has \[64, 64\]",
    ),
    "B too long": (
        tensors(zeros(f"{Q}.lora_B.weight", 65, 8)),
        r"the adapter changes a weight of shape \[65, 64\], .*q_proj.weight' has \[64, 64\]",
    ),
}
"""Case → how to spoil an adapter for it, and the message."""


@pytest.mark.parametrize("case", MISFITS)
def test_an_adapter_that_does_not_fit_is_refused_by_tensor_or_module(good: Path, base: Make, case: str) -> None:
    spoil, message = MISFITS[case]
    spoil(good)
    with pytest.raises(AdapterError, match=message):
        require_fit(Adapter.open(good), BaseModel.open(base()))


def test_a_wrong_base_is_refused_by_shape_by_layers_and_by_architecture(base: Make, adapter: Make) -> None:
    folder = adapter(base())
    assert "has [128, 128]" in check(folder, base(hidden=128)).errors[0].what
    assert check(folder, base(layers=3)).errors[0].what.startswith("the adapter has no tensors for 'model.layers.2.")
    assert check(folder, base(layers=1)).errors[0].what.startswith("the base model has no module 'model.layers.1.")
    assert check(folder, base(arch="gpt2")).errors[0].what.startswith("the base model has no module 'model.layers.0.")


def test_targets_without_tensors_are_reported(good: Path, base: Make) -> None:
    where = "adapter_config.json: target_modules"
    config(target_modules=[*tiny.ALL_TARGETS, "c_attn", "self_attn.qkv"])(good)
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
def test_targets_with_tensors_are_not_reported(base: Make, adapter: Make, options: dict[str, Any]) -> None:
    folder = adapter(base(), **options)
    for report in (check(folder), check(folder, base())):
        assert not [finding for finding in report.findings if finding.what.startswith("names ")]
