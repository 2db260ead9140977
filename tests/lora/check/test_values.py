"""NaN and infinity are found in every dtype, and adapters that change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.check.values import require_finite
from firectl.lora.read.adapter import Adapter
from tests.lora.check.reports import said
from tests.lora.conftest import Make
from tests.lora.read.spoil import (
    Spoil,
    config,
    number,
    tensors,
)

BAD_NUMBERS: dict[str, tuple[Spoil, str]] = {
    "NaN": (tensors(number(b"\x00\x00\xc0\x7f")), ".*0.self_attn.q_proj.lora_B.weight':? holds NaN or infinity$"),
    "infinity": (tensors(number(b"\x00\x00\x80\xff")), ".*q_proj.lora_B.weight':? holds NaN or infinity$"),
}
"""Case → how to spoil an adapter for it, and the message."""


@pytest.mark.parametrize("case", BAD_NUMBERS)
def test_nan_and_infinity_are_refused_by_tensor(good: Path, case: str) -> None:
    spoil, message = BAD_NUMBERS[case]
    spoil(good)
    with pytest.raises(AdapterError, match=message):
        require_finite(Adapter.open(good))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "largest", "smallest"])
def test_nan_and_infinity_are_found_and_no_other_number(good: Path, dtype: str, value: str) -> None:
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


def test_an_alpha_of_zero_is_found_without_reading_the_weights(good: Path, base: Make) -> None:
    config(lora_alpha=0)(good)
    for report in (check(good), check(good, base()), check(good, base(), deep=True)):
        (found,) = [finding for finding in report.warnings if finding.where == "adapter"]
        assert found.what == "lora_alpha is zero: this adapter changes nothing"
        assert found.todo == "write the lora_alpha that it was trained with"
    config(lora_alpha=16, alpha_pattern={"q_proj": 0})(good)
    assert ("'model.layers.0.self_attn.q_proj'", "2 of 14 modules are not changed") in said(check(good), "note")
