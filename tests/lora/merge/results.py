"""Merges and what they wrote, for the tests of the merge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BIG: dict[str, Any] = {"hidden": 1024, "layers": 2, "intermediate": 4608, "heads": 8, "kv_heads": 8}
"""A base of 150 MB: its largest weights take several blocks, and a merge of it can be caught half-way."""


def tensors_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def reference(base: Path, adapter: Path, scaling: float) -> dict[str, Any]:
    """The formula as written, on whole matrices, by torch and safetensors themselves."""
    result = tensors_of(base)
    factors = tensors_of(adapter)
    for name in result:
        a = factors.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        b = factors.get(f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight")
        if a is not None and b is not None:
            weight = result[name]
            result[name] = (weight.float() + scaling * (b.float() @ a.float())).to(weight.dtype)
    return result


def assert_bit_equal(folder: Path, expected: dict[str, Any]) -> None:
    """Of 16 bits one number in 1,000 may be off by its last bit: numpy may add up the ranks in another order."""
    import torch

    actual = tensors_of(folder)
    assert actual.keys() == expected.keys()
    off = total = 0
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        if value.dtype == torch.float32:
            assert torch.equal(actual[name], value), name
        else:
            steps = (actual[name].view(torch.int16).int() - value.view(torch.int16).int()).abs()
            assert steps.max() <= 1, name
            off, total = off + int(steps.sum()), total + steps.numel()
    assert off <= total / 1000


def run_merge(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "firectl.lora.merge", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def written_record(out: Path) -> dict[str, Any]:
    """The record beside a result, without what it says of the files, which the folder alone has."""
    record: dict[str, Any] = json.loads((out / "firectl_merge.json").read_text())
    assert len(record.pop("stamp")) == 64
    files = record.pop("files")
    assert files.keys() == {path.name for path in out.iterdir()} - {"firectl_merge.json"}
    return record
