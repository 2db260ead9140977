"""Adapters written without peft, which takes a second to import."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from tests.tiny import write_safetensors

_AT = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"


def write_adapter(folder: Path, hidden: int, *, layers: int = 2, r: int = 4, value: float = 0.01) -> Path:
    """A LoRA on q_proj of a square base, every number of A and B the same."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": r, "lora_alpha": r, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    numbers = struct.pack("<f", value) * (r * hidden)
    tensors = {}
    for layer in range(layers):
        tensors[_AT.format(layer, "A")] = ("F32", (r, hidden), numbers)
        tensors[_AT.format(layer, "B")] = ("F32", (hidden, r), numbers)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return folder
