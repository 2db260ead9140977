"""A model of any family is loaded by transformers, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from firectl.engine.compute.transformers.load import read_any
from firectl.engine.compute.transformers.runner import TransformersRunner
from firectl.errors import AdapterError
from tests.tiny import make_base

CPU = torch.device("cpu")


def edit(folder: Path, **changes: object) -> Path:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return folder


def test_a_model_says_how_long_and_large_it_is(tmp_path: Path) -> None:
    read = read_any(make_base(tmp_path / "base", arch="gemma"), torch.float32, CPU)
    assert isinstance(read.runner, TransformersRunner)
    assert (read.longest, read.vocabulary, set(read.eos)) == (512, 264, {257})
    assert read.runner.kv_bytes_per_token == 2 * 2 * 16 * 4 * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wizard"}, "the model cannot be loaded: .*wizard"),
        ({"num_hidden_layers": 3}, "the checkpoint lacks 9 tensors of the model, such as model.layers.2"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "the model cannot be loaded|not causal"),
    ],
)
def test_a_folder_that_it_cannot_load_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=message):
        read_any(edit(make_base(tmp_path / "base", arch="gemma"), **changes), torch.float32, CPU)


def test_a_rotation_that_depends_on_the_length_limits_the_context(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 128}
    base = make_base(tmp_path / "base", config={"rope_parameters": rope})
    assert read_any(base, torch.float32, CPU).longest == 128
