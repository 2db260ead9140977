"""An adapter's folder: every tensor has its role, or the adapter is refused by the tensor's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.read.adapter import Adapter
from tests import tiny
from tests.lora.conftest import Make
from tests.lora.read.fuzzing import FEW
from tests.lora.read.spoil import (
    CONFIG,
    WEIGHTS,
    Q,
    Raw,
    Spoil,
    config,
    renamed,
    tensors,
    zeros,
)

ADAPTERS: dict[str, tuple[Spoil, str]] = {
    "no config": (lambda folder: (folder / CONFIG).unlink(), "adapter_config.json is missing"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "adapter_model.safetensors .* is missing"),
    "MLX weights under a PEFT config": (
        lambda folder: (folder / WEIGHTS).rename(folder / "adapters.safetensors"),
        "MLX adapter",
    ),
    "r of another adapter": (config(r=16), r"lora_A.weight' has 8 rows, but its rank in adapter_config.json is 16"),
    "rank_pattern of another adapter": (config(rank_pattern={"k_proj": 4}), "has 8 rows, but its rank .* is 4"),
    "rank_pattern no pattern": (config(rank_pattern={"(": 8}), "rank_pattern '\\(': .* is not a regular expression"),
    "targets disjoint": (config(target_modules=["c_attn"]), "which target_modules .* does not name"),
    "targets fewer than there are": (config(target_modules=["q_proj"]), "which target_modules .* does not name"),
    "a saved module without its tensor": (config(modules_to_save=["lm_head"]), "has no tensor of 'lm_head'"),
    "alpha_pattern no pattern": (config(alpha_pattern={"[": 8}), "alpha_pattern '\\[': .* is not a regular expression"),
    "tying kept": (
        lambda folder: (
            config(ensure_weight_tying=True, target_modules=[*tiny.ALL_TARGETS, "lm_head"])(folder),
            tensors(zeros("base_model.model.lm_head.lora_A.weight", 8, 64))(folder),
        ),
        "ensure_weight_tying is not supported",
    ),
    "DoRA without magnitudes": (config(use_dora=True), "use_dora is set, but module .* no lora_magnitude_vector"),
    "lora_bias without biases": (config(lora_bias=True), "lora_bias is set, but module .* has no lora_B.bias"),
    "no tensors": (tensors(dict.clear), "has no lora_A or lora_B tensor"),
    "A without B": (tensors(lambda raw: raw.pop(f"{Q}.lora_B.weight")), "layers.0.self_attn.q_proj' has no lora_B"),
    "B without A": (tensors(lambda raw: raw.pop(f"{Q}.lora_A.weight")), "layers.0.self_attn.q_proj' has no lora_A"),
    "an extra tensor": (
        tensors(zeros("base_model.model.model.layers.0.self_attn.q_proj.weight", 64, 64)),
        "does not declare tensor 'base_model.model.model.layers.0.self_attn.q_proj.weight'",
    ),
    "an extra bias": (
        tensors(zeros("base_model.model.model.layers.0.self_attn.q_proj.bias", 64)),
        "does not declare tensor '.*q_proj.bias'",
    ),
    "a magnitude without DoRA": (
        tensors(zeros(f"{Q}.lora_magnitude_vector", 64)),
        "does not declare tensor '.*q_proj.lora_magnitude_vector'",
    ),
    "another prefix": (
        tensors(renamed("base_model.model.", "")),
        "'model.layers.0.* does not begin with base_model.model.",
    ),
    "both spellings": (
        tensors(lambda raw: raw.update({f"{Q}.lora_A.default.weight": raw[f"{Q}.lora_A.weight"]})),
        "are two names of the same tensor",
    ),
    "A of one dimension": (
        tensors(zeros(f"{Q}.lora_A.weight", 512)),
        r"has the shape \[512\], expected two dimensions",
    ),
    "A empty": (tensors(zeros(f"{Q}.lora_A.weight", 0, dtype="F32", size=0)), r"has the shape \[0\], expected two"),
    "A transposed": (tensors(zeros(f"{Q}.lora_A.weight", 64, 8)), "has 64 rows, but its rank"),
    "integers": (tensors(zeros(f"{Q}.lora_A.weight", 8, 64, dtype="I32")), "lora_A.weight' is I32, expected one of"),
    "eight-bit floats": (
        tensors(zeros(f"{Q}.lora_A.weight", 8, 64, dtype="F8_E4M3", size=1)),
        "lora_A.weight' is F8_E4M3, expected one of",
    ),
}
"""Case → how to spoil an adapter for it, and the message."""


@pytest.mark.parametrize("case", ADAPTERS)
def test_a_tensor_without_a_role_or_a_missing_one_is_refused_by_name(good: Path, case: str) -> None:
    spoil, message = ADAPTERS[case]
    spoil(good)
    with pytest.raises(AdapterError, match=message):
        Adapter.open(good)


@FEW
@given(flips=st.lists(st.tuples(st.integers(0, 7000), st.integers(1, 255)), min_size=1, max_size=4))
def test_an_adapter_with_any_bytes_of_its_header_flipped(
    good: Path, base: Make, adapter: Make, flips: list[tuple[int, int]]
) -> None:
    path = good / "adapter_model.safetensors"
    data = bytearray((adapter(base()) / path.name).read_bytes())
    for position, value in flips:
        data[position % len(data)] ^= value
    path.write_bytes(data)
    report = check(good, base(), deep=True)
    document = json.dumps(report.to_document())
    assert document.isprintable()
    if report.ok:
        assert len(Adapter.open(good).modules) == 14


def test_names_that_an_old_peft_wrote_are_read_as_those_of_today(good: Path) -> None:
    expected = Adapter.open(good).modules
    tensors(renamed(".weight", ".default.weight"))(good)
    modules = Adapter.open(good).modules
    assert modules.keys() == expected.keys()
    assert modules["model.layers.0.self_attn.q_proj"].a.name.endswith("q_proj.lora_A.default.weight")


def test_the_services_own_file_belongs_to_the_adapter(good: Path) -> None:
    (good / "fireworks.json").write_text('{"conversation_config": {"style": "jinja", "args": {"template": "x"}}}')
    assert Adapter.open(good).files == ("adapter_config.json", "adapter_model.safetensors", "fireworks.json")
    assert check(good).facts["files"]["fireworks.json"] > 0


def test_a_thousand_patterns_on_a_thousand_modules_are_given_up_in_seconds(good: Path) -> None:
    config(rank_pattern={f".*x.*x.*{number}.never": 8 for number in range(1000)})(good)
    raw: Raw = {}
    for number in range(1000):
        for part in "AB":
            name = f"base_model.model.model.{'xlayers.' * 10}{number}.q_proj.lora_{part}.weight"
            raw[name] = ("BF16", (1, 1), b"\0\0")
    tiny.write_safetensors(good / WEIGHTS, raw)
    with pytest.raises(AdapterError, match="its patterns take longer than 5 s to match"):
        Adapter.open(good)
