"""Small model folders for the control plane's tests, written without torch or peft: milliseconds each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import tiny


def write_base(folder: Path, **options: Any) -> Path:
    """A Llama of one layer."""
    return tiny.make_base(folder, layers=1, hidden=16, heads=2, kv_heads=1, intermediate=32, **options)


def write_adapter(folder: Path, *, r: int = 4, hidden: int = 16, value: float = 0.5, **config: Any) -> Path:
    """A PEFT adapter of `write_base`'s q_proj; `value` fills it, `config` changes its adapter_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{module}.lora_A.weight": ("F32", [r, hidden], floats(value, r * hidden)),
        f"{module}.lora_B.weight": ("F32", [hidden, r], floats(value, r * hidden)),
    }
    tiny.write_safetensors(folder / "adapter_model.safetensors", tensors)
    document = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "acme/tiny",
        "r": r,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": ["q_proj"],
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(document))
    return folder


def floats(value: float, count: int) -> bytes:
    """`count` times the same float32."""
    import struct

    return struct.pack("<f", value) * count
