"""Check a base model's folder by its config and its headers, in milliseconds.

Must not import torch, which takes seconds: a folder that cannot be served is refused before that.
"""

from __future__ import annotations

from pathlib import Path

from firectl.errors import AdapterError
from firectl.lora.read.base_model import BaseModel


def open_base(folder: Path) -> BaseModel:
    """Open a base model that the engine can serve. AdapterError if it is incomplete, quantised or has no tokenizer."""
    base = BaseModel.open(folder)
    if base.quantization is not None:
        raise AdapterError(
            f"{folder}: expected BF16, FP16 or FP32 weights, got quantised ones ({base.quantization})",
            hint="import the model in BF16, FP16 or FP32",
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise AdapterError(f"{folder}: the model has no tokenizer", hint="add its tokenizer.json")
    return base


def weight_bytes(base: BaseModel) -> int:
    """Return the total size in bytes of the files with the model's weights."""
    return sum((base.path / shard).stat().st_size for shard in base.shards)
