"""Which configs the lean pass computes, and which it leaves to transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firectl.engine.compute.lean.config import DEFAULT_WINDOW, LeanConfig, lean_config
from tests.tiny import make_base


def config_of(folder: Path, arch: str = "llama", **changes: Any) -> dict[str, Any]:
    base = make_base(folder / "base", arch=arch)
    return json.loads((base / "config.json").read_text()) | changes  # type: ignore[no-any-return]


def lean(folder: Path, arch: str = "llama", **changes: Any) -> LeanConfig:
    found = lean_config(config_of(folder, arch, **changes))
    assert found is not None
    return found


@pytest.mark.parametrize(("arch", "bias", "norms"), [
    ("llama", False, False), ("mistral", False, False), ("qwen2", True, False), ("qwen3", False, True),
])  # fmt: skip
def test_the_common_families_are_computed_lean(arch: str, bias: bool, norms: bool, tmp_path: Path) -> None:
    found = lean(tmp_path, arch)
    assert (found.qkv_bias, found.head_norms) == (bias, norms)
    assert (found.layers, found.heads, found.kv_heads, found.head_size, set(found.eos)) == (2, 4, 2, 16, {257})


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gemma"},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}},
        {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}},
        {"partial_rotary_factor": 0.5},
        {"hidden_act": "gelu"},
        {"rms_norm_eps": None},
        {"attention_bias": True},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"quantization_config": {"quant_method": "fp8"}},
        {"head_dim": 15},
        {"num_key_value_heads": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_it_does_not_know_is_left_to_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    assert lean_config(config_of(tmp_path, **changes)) is None


def test_rotations_are_read_in_both_spellings(tmp_path: Path) -> None:
    scaled = {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}
    new = lean(tmp_path, rope_parameters=scaled).rope
    old = lean(tmp_path, rope_theta=500.0, rope_scaling={"type": "linear", "factor": 4.0}).rope
    assert new == old
    assert (new.kind, new.theta, new.parameters) == ("linear", 500.0, {"factor": 4.0})


@pytest.mark.parametrize(
    ("arch", "changes", "windows"),
    [
        ("llama", {"sliding_window": 8}, (None, None)),
        ("mistral", {"sliding_window": 8}, (8, 8)),
        ("mistral", {"sliding_window": None}, (None, None)),
        ("qwen2", {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1}, (None, 8)),
        ("qwen2", {"sliding_window": 8}, (None, None)),
        ("qwen3", {"sliding_window": 8, "use_sliding_window": True,
                   "layer_types": ["sliding_attention", "full_attention"]}, (8, None)),
    ],
)  # fmt: skip
def test_windows_are_given_layer_by_layer(
    arch: str, changes: dict[str, Any], windows: tuple[int | None, ...], tmp_path: Path
) -> None:
    assert lean(tmp_path, arch, **changes).windows == windows


def test_a_window_that_is_left_out_is_transformers_default(tmp_path: Path) -> None:
    config = config_of(tmp_path, "mistral")
    del config["sliding_window"]
    found = lean_config(config)
    assert found is not None
    assert found.windows == (DEFAULT_WINDOW, DEFAULT_WINDOW)
