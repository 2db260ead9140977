"""A lean model is read tensor by tensor, complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from firectl.engine.compute.lean.config import lean_config
from firectl.engine.compute.lean.load import generation_eos, read_model, readable
from firectl.engine.compute.lean.model import LeanModel
from firectl.errors import AdapterError
from firectl.lora.read.base_model import BaseModel
from tests.engine.parity import check_parity
from tests.tiny import make_base


def read(folder: Path) -> LeanModel:
    base = BaseModel.open(folder)
    config = lean_config(base.config)
    assert config is not None
    assert readable(base)
    return read_model(base, config, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3}, "lacks 9 tensors of the model, such as model.layers.2.input_layernorm.weight"),
        ({"intermediate_size": 64}, "lacks 6 tensors of the model, such as model.layers.0.mlp.gate_proj.weight"),
    ],
    ids=["a layer short", "another shape"],
)
def test_a_checkpoint_that_is_not_the_models_is_refused(change: dict[str, int], message: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text()) | change
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError, match=message):
        read(base)


def test_a_model_has_the_layers_of_its_config(tmp_path: Path) -> None:
    model = read(make_base(tmp_path / "base", arch="qwen3", layers=3))
    assert len(model.layers) == 3
    assert all(layer.head_norms is not None for layer in model.layers)
    assert model.layers[0].linears[0].features == (64, 128)  # queries, keys and values in one product


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    check_parity(make_base(tmp_path / "base", tied=True), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"eos_token_id": [7, 9]}', {7, 9}), ('{"eos_token_id": 7}', {7}), ("{}", set()), ("[]", set()), ("{", set())],
)
def test_a_generation_config_adds_the_tokens_that_end_an_answer(text: str, expected: set[int], tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    assert generation_eos(tmp_path) == expected
    assert generation_eos(tmp_path / "nowhere") == frozenset()
