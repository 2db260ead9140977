"""A folder that cannot be served is refused from its config and headers alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firectl.engine.base_folder import open_base, weight_bytes
from firectl.errors import AdapterError
from tests.tiny import make_base


def test_a_good_folder_is_opened_and_its_weights_are_measured(tmp_path: Path) -> None:
    base = open_base(make_base(tmp_path / "base", shards=3))
    assert base.config["model_type"] == "llama"
    assert weight_bytes(base) == sum(file.stat().st_size for file in base.path.glob("*.safetensors"))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    (base / "model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"model\.safetensors \(or model\.safetensors\.index\.json\) is missing"):
        open_base(base)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    (base / "tokenizer.json").unlink()
    with pytest.raises(AdapterError, match="the model has no tokenizer"):
        open_base(base)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", config={"quantization_config": {"quant_method": "fp8"}})
    with pytest.raises(AdapterError, match=r"expected BF16, FP16 or FP32 weights, got quantised ones \(fp8\)"):
        open_base(base)


def test_a_config_that_is_not_json_is_named(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    (base / "config.json").write_text(json.dumps({})[:1])
    with pytest.raises(AdapterError, match=r"config\.json"):
        open_base(base)
