"""A base model's folder: its files, modules and tensors; a broken one is refused by name and nothing is written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.merge.merge import merge
from firectl.lora.read.base_model import BaseModel
from tests import tiny
from tests.lora.conftest import Make
from tests.lora.read.spoil import Spoil, in_turn, raw_tensors

BASES: dict[str, tuple[Spoil, str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing from the base model"),
    "config not JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
    "no model_type": (lambda folder: (folder / "config.json").write_text("{}"), "model_type is missing"),
    "quantised": (
        lambda folder: _edit(folder / "config.json", quantization_config={"quant_method": "gptq"}),
        r"weights are quantised \('gptq'\)",
    ),
    "no index": (
        lambda folder: (folder / "model.safetensors.index.json").unlink(),
        r"model.safetensors \(or model.safetensors.index.json\) is missing",
    ),
    "only .bin": (
        in_turn(
            lambda folder: (folder / "model.safetensors.index.json").unlink(),
            lambda folder: (folder / "pytorch_model.bin").write_bytes(b""),
        ),
        "weights are in pytorch_model.bin; only safetensors are supported",
    ),
    "a shard missing": (
        lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(),
        "'model-00002-of-00002.safetensors', which model.safetensors.index.json names, is missing",
    ),
    "a shard cut": (
        lambda folder: os.truncate(folder / "model-00002-of-00002.safetensors", 3000),
        "model-00002-of-00002.safetensors.*truncated",
    ),
    "no weight_map": (
        lambda folder: _edit(folder / "model.safetensors.index.json", weight_map=None),
        "weight_map is missing",
    ),
    "a shard above the folder": (
        lambda folder: _edit(folder / "model.safetensors.index.json", weight_map={"a": "../model.safetensors"}),
        "file name '../model.safetensors' is not a plain file name",
    ),
    "an absolute shard": (
        lambda folder: _edit(folder / "model.safetensors.index.json", weight_map={"a": "/etc/passwd"}),
        "file name '/etc/passwd' is not a plain file name",
    ),
    "a shard that is a number": (
        lambda folder: _edit(folder / "model.safetensors.index.json", weight_map={"a": 1}),
        "the file of tensor 'a' is not a string",
    ),
    "a tensor that no shard has": (
        lambda folder: _edit(
            folder / "model.safetensors.index.json",
            weight_map={"x": "model-00001-of-00002.safetensors", "y": "model-00002-of-00002.safetensors"},
        ),
        "'x', 'y' not in the file that weight_map names",
    ),
    "one shard twice": (
        lambda folder: shutil.copy(
            folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors"
        ),
        "is in model-00001-of-00002.safetensors and in model-00002-of-00002.safetensors",
    ),
    "a shard linked from outside": (
        in_turn(
            lambda folder: (folder / "model-00001-of-00002.safetensors").rename(folder.parent / "outside"),
            lambda folder: (folder / "model-00001-of-00002.safetensors").symlink_to(folder.parent / "outside"),
        ),
        "'model-00001-of-00002.safetensors' is a link to something outside",
    ),
    "the head lost": (
        in_turn(
            lambda folder: _edit(folder / "config.json", tie_word_embeddings=False),
            lambda folder: _without(folder, "lm_head.weight"),
        ),
        "lack lm_head.weight, and its config.json says that the head is not tied",
    ),
}


def _edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _without(folder: Path, name: str) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = folder / index["weight_map"].pop(name)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    raw = raw_tensors(shard)
    raw.pop(name)
    tiny.write_safetensors(shard, raw)


@pytest.mark.parametrize("case", BASES)
def test_a_broken_base_is_refused_by_name_and_nothing_is_written(
    base: Make, adapter: Make, tmp_path: Path, case: str
) -> None:
    spoil, message = BASES[case]
    folder = Path(shutil.copytree(base(shards=2), tmp_path / "base"))
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    report = check(adapter(base()), folder)
    assert not report.ok
    with pytest.raises(AdapterError, match=message):
        merge(adapter(base()), folder, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_files_of_a_base_are_its_own_weights_config_tokenizer_and_templates(base: Make, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base(shards=2), tmp_path / "base"))
    for name in ("pytorch_model.bin", "model.gguf", ".gitattributes", "firectl_merge.json"):
        (folder / name).write_bytes(b"{}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    own = {path.name for path in base(shards=2).iterdir()}
    assert set(BaseModel.open(folder).files) == own | {"additional_chat_templates/tools.jinja"}


def test_modules_and_tensors_have_the_models_names_in_a_checkpoint_without_its_prefix(
    base: Make, tmp_path: Path
) -> None:
    """GPT-2's own files are like that."""
    folder = Path(shutil.copytree(base(arch="gpt2"), tmp_path / "base"))
    raw = raw_tensors(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in raw.items()}
    tiny.write_safetensors(folder / "model.safetensors", bare)
    opened, full = BaseModel.open(folder), BaseModel.open(base(arch="gpt2"))
    assert opened.modules.keys() == full.modules.keys()
    assert (opened.embedding, opened.tied) == ("transformer.wte", True)
    found = opened.tensor("transformer.h.0.attn.c_attn.bias")
    assert found is not None
    assert found.name == "h.0.attn.c_attn.bias"
    assert opened.tensor("transformer.h.9.attn.c_attn.bias") is None
    assert [opened.is_conv1d(f"transformer.h.0.{name}") for name in ("attn.c_attn", "ln_1")] == [True, False]
