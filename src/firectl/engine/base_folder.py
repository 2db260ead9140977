"""What can be said against a base model's folder from its config and headers, in milliseconds.

Must not import torch: a folder that cannot be served is refused before the seconds that takes.
"""

from __future__ import annotations

from pathlib import Path

from firectl.errors import AdapterError
from firectl.lora.read.base_model import BaseModel


def open_base(folder: Path) -> BaseModel:
    """AdapterError for a folder that is no model, is incomplete by its own index, or is quantised."""
    base = BaseModel.open(folder)
    if base.quantization is not None:
        raise AdapterError(
            f"{folder}: the weights are quantised ({base.quantization}), which this engine does not serve",
            hint="import the model in BF16, FP16 or FP32",
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise AdapterError(f"{folder}: there is no tokenizer beside the model", hint="add its tokenizer.json")
    return base
