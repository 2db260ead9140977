"""The merged model answers as PEFT's unmerged one does: float32 logits within 1e-4, whatever the adapter is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firectl.lora.merge.merge import merge
from tests import tiny
from tests.lora.conftest import Make


def logits(base: Path, adapter: Path | None = None) -> Any:
    import torch

    ids = torch.arange(48).reshape(2, 24) * 5 % 256
    with torch.no_grad():
        return tiny.load_reference(base, adapter)(input_ids=ids).logits


def assert_same_answers(base: Path, adapter: Path, out: Path) -> None:
    merge(adapter, base, out)
    expected = logits(base, adapter)
    assert (logits(out) - expected).abs().max() < 1e-4
    assert (logits(base) - expected).abs().max() > 0.1


@pytest.mark.parametrize("arch", ["llama", "mistral", "qwen2", "qwen3", "gemma"])
@pytest.mark.parametrize("tied", [False, True])
def test_all_seven_projections_of_every_architecture(
    base: Make, adapter: Make, tmp_path: Path, arch: str, tied: bool
) -> None:
    folder = base(arch=arch, tied=tied)
    assert_same_answers(folder, adapter(folder), tmp_path / "out")


@pytest.mark.parametrize("rank", [1, 4, 5, 16, 32, 64])
def test_every_rank(base: Make, adapter: Make, tmp_path: Path, rank: int) -> None:
    assert_same_answers(base(), adapter(base(), r=rank, alpha=7), tmp_path / "out")


@pytest.mark.parametrize("target", tiny.ALL_TARGETS)
def test_each_projection_alone(base: Make, adapter: Make, tmp_path: Path, target: str) -> None:
    assert_same_answers(base(), adapter(base(), targets=[target]), tmp_path / "out")


PATTERNS = {
    "rank_pattern": {"q_proj": 4, r"layers\.1\.mlp\.down_proj": 32, "model.layers.0.self_attn.v_proj": 5},
    "alpha_pattern": {"v_proj": 64, "^model.layers.1.self_attn.k_proj": 3},
}


@pytest.mark.parametrize(
    "options",
    [
        {"rslora": True},
        {"rslora": True, **PATTERNS},
        PATTERNS,
        {"targets": "all-linear"},
        {"targets": r".*\.layers\.0\.(self_attn|mlp)\.(q|up)_proj"},
        {"layers_to_transform": [1]},
        {"layers_to_transform": [0], "layers_pattern": "layers"},
        {"exclude_modules": ["model.layers.0.self_attn.q_proj", "down_proj"]},
        {"exclude_modules": r".*layers\.1.*"},
        {"init_lora_weights": "orthogonal"},
        {"fan_in_fan_out": True},
        {"dora": True},
        {"dora": True, "rslora": True, "dtype": "bfloat16"},
        {"targets": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens", "input_layernorm"]},
        {"dtype": "float16"},
    ],
    ids=lambda options: ",".join(options),
)
def test_every_feature_of_the_config(base: Make, adapter: Make, tmp_path: Path, options: dict[str, Any]) -> None:
    assert_same_answers(base(), adapter(base(), **options), tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [
        {"bias": "all"},
        {"bias": "lora_only", "targets": ["q_proj", "o_proj"]},
        {"lora_bias": True, "targets": ["q_proj", "k_proj", "v_proj"]},
        {"lora_bias": True, "bias": "all", "targets": ["q_proj"]},
    ],
    ids=lambda options: ",".join(options),
)
def test_biases_where_the_base_has_them(base: Make, adapter: Make, tmp_path: Path, options: dict[str, Any]) -> None:
    folder = base(arch="qwen2")
    assert_same_answers(folder, adapter(folder, **options), tmp_path / "out")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"targets": ["q_proj", "lm_head"]},
        {"targets": ["embed_tokens"]},
        {"targets": ["embed_tokens", "lm_head"]},
        {"targets": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"targets": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"targets": ["q_proj", "lm_head"], "dora": True},
    ],
    ids=lambda options: json.dumps(options),
)
def test_head_and_embedding_tied_or_not(
    base: Make, adapter: Make, tmp_path: Path, tied: bool, shards: int, options: dict[str, Any]
) -> None:
    folder = base(arch="qwen2", tied=tied, shards=shards)
    assert_same_answers(folder, adapter(folder, **options), tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [
        {"fan_in_fan_out": True},
        {"fan_in_fan_out": False},
        {"targets": [*tiny.GPT2_TARGETS, "wte"]},
        {"bias": "all"},
        {"dora": True, "rslora": True},
        {"lora_bias": True},
    ],
    ids=lambda options: ",".join(options),
)
def test_gpt2_whose_weights_are_stored_transposed(
    base: Make, adapter: Make, tmp_path: Path, options: dict[str, Any]
) -> None:
    folder = base(arch="gpt2")
    assert_same_answers(folder, adapter(folder, **{"targets": tiny.GPT2_TARGETS, **options}), tmp_path / "out")


def test_a_checkpoint_whose_names_lack_the_models_prefix(base: Make, adapter: Make, tmp_path: Path) -> None:
    """As GPT-2's own files are: `h.0.attn.c_attn.weight`."""
    full = base(arch="gpt2")
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in full.iterdir():
        if path.suffix == ".json":
            (bare / path.name).write_bytes(path.read_bytes())
    data = (full / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(b'"transformer.', b'"')
    (bare / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    assert_same_answers(bare, adapter(full, targets=[*tiny.GPT2_TARGETS, "wte"]), tmp_path / "out")


def test_experts_and_router_of_mixtral_by_the_names_of_its_files(base: Make, tmp_path: Path) -> None:
    import numpy as np

    folder = base(arch="mixtral", layers=1)
    random = np.random.default_rng(3)
    shapes = {"self_attn.q_proj": (64, 64), "block_sparse_moe.gate": (2, 64)}
    for expert in range(2):
        shapes[f"block_sparse_moe.experts.{expert}.w1"] = (128, 64)
        shapes[f"block_sparse_moe.experts.{expert}.w2"] = (64, 128)
        shapes[f"block_sparse_moe.experts.{expert}.w3"] = (128, 64)
    tensors = {}
    for module, (rows, columns) in shapes.items():
        for part, shape in (("A", (4, columns)), ("B", (rows, 4))):
            values = random.standard_normal(shape).astype("<f4") * 0.15
            tensors[f"base_model.model.model.layers.0.{module}.lora_{part}.weight"] = ("F32", shape, values.tobytes())
    mixed = tmp_path / "adapter"
    mixed.mkdir()
    tiny.write_safetensors(mixed / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8}
    targets = ["q_proj", "gate", "w1", "w2", "w3"]
    (mixed / "adapter_config.json").write_text(json.dumps({**config, "target_modules": targets}))
    assert_same_answers(folder, mixed, tmp_path / "out")


GPT2_PATTERNS = {
    "rank_pattern": {"c_attn": 4, r"h\.1\.mlp\.c_proj": 32, "transformer.h.0.mlp.c_fc": 5},
    "alpha_pattern": {"c_fc": 64, "^transformer.h.1.attn.c_attn": 3},
}
MATRIX_FEATURES: dict[str, dict[str, Any]] = {"LoRA": {}, "rsLoRA": {"rslora": True}, "patterns": PATTERNS}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("feature", MATRIX_FEATURES)
@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gpt2"])
def test_merged_and_unmerged_agree_as_peft_does_with_itself(
    base: Make, adapter: Make, tmp_path: Path, arch: str, feature: str, tied: bool, dtype: str
) -> None:
    """Every family, head and feature: float32 to 1e-4, 16 bits as often the same token as PEFT's own merge."""
    import torch

    targets = {"targets": tiny.GPT2_TARGETS, "fan_in_fan_out": True} if arch == "gpt2" else {}
    options = GPT2_PATTERNS if (arch, feature) == ("gpt2", "patterns") else MATRIX_FEATURES[feature]
    folder = base(arch=arch, tied=tied, dtype=dtype, hidden=128, heads=4)
    lora = adapter(base(arch=arch, tied=tied, hidden=128, heads=4), **options, **targets)
    merge(lora, folder, tmp_path / "out")
    ids = torch.randint(0, 256, (8, 256), generator=torch.Generator().manual_seed(0))

    def answers(model: Any) -> Any:
        with torch.no_grad():
            return model(input_ids=ids).logits.float()

    unmerged = answers(tiny.load_reference(folder, lora, dtype=dtype))
    ours = answers(tiny.load_reference(tmp_path / "out", dtype=dtype))
    if dtype == "float32":
        assert (ours - unmerged).abs().max() < 1e-4
    else:
        peft = answers(tiny.load_reference(folder, lora, dtype=dtype).merge_and_unload())
        same = [(found.argmax(-1) == unmerged.argmax(-1)).float().mean() for found in (ours, peft)]
        assert same[0] >= same[1] - 0.005
