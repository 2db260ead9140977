"""A `.bin` of torch.save is read without torch, and says what torch itself says of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from firectl.errors import AdapterError
from firectl.lora.base_model import BaseModel
from firectl.lora.check import check
from firectl.lora.merge import merge
from firectl.lora.safetensors import read_bytes
from firectl.lora.torch_bin import read_bin
from firectl.lora.weights import load_weights
from tests.lora.conftest import Make


def save_as_bin(folder: Path, **options: Any) -> Path:
    """Replace the folder's safetensors by the `.bin` that PEFT would write."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin", **options)
    return folder


def test_every_tensor_is_found_with_its_dtype_shape_and_bytes(tmp_path: Path) -> None:
    import torch
    from torch import nn

    shared = torch.arange(12, dtype=torch.float32)
    module = nn.Linear(3, 2)
    tensors = {
        "f32": torch.randn(3, 4),
        "f16": torch.randn(5).half(),
        "bf16": torch.randn(2, 3, 4).bfloat16(),
        "f64": torch.randn(2).double(),
        "i64": torch.arange(3),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 4),
        "slice": shared[4:8],
        "same storage": shared.view(3, 4),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        **module.state_dict(),
    }
    torch.save(tensors, tmp_path / "adapter_model.bin")
    found = read_bin(tmp_path / "adapter_model.bin")
    assert list(found) == list(tensors)
    names = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64", "BOOL": "bool"}
    for name, tensor in tensors.items():
        info = found[name]
        assert (getattr(torch, names[info.dtype]), info.shape) == (tensor.dtype, tuple(tensor.shape)), name
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)
        assert bytes(read_bytes(info)) == bytes(raw.tolist()), name


def test_a_state_dict_is_read(tmp_path: Path) -> None:
    """It is an OrderedDict with attributes of its own."""
    import torch

    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "adapter_model.bin")
    assert {name: info.shape for name, info in read_bin(tmp_path / "adapter_model.bin").items()} == {
        "weight": (2, 3),
        "bias": (2,),
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda torch: {"a": torch.randn(3, 4).t()}, "tensor 'a' is not contiguous"),
        (lambda torch: {"a": torch.randn(1, 4).expand(3, 4)}, "tensor 'a' is not contiguous"),
        (lambda torch: {"state_dict": {"a": torch.randn(1)}}, "the entry 'state_dict' is not a tensor"),
        (lambda torch: [torch.randn(1)], "does not hold a dictionary"),
        (lambda torch: {"a": torch.randn(2, 2).to_sparse()}, "its pickle refers to torch"),
        (lambda torch: {"a": torch.quantize_per_tensor(torch.randn(2), 0.1, 0, torch.qint8)}, "its pickle refers to"),
        (lambda torch: {"a": torch.randn(2, dtype=torch.complex64)}, "refers to torch.ComplexFloatStorage"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_plain_tensor_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    import torch

    torch.save(make(torch), tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError, match=message):
        read_bin(tmp_path / "adapter_model.bin")


@pytest.mark.filterwarnings("ignore")
def test_the_old_format_without_an_archive_is_refused(good: Path) -> None:
    save_as_bin(good, _use_new_zipfile_serialization=False)
    report = check(good)
    assert report.errors[0].what == "adapter_model.bin is a bare pickle; nothing in it was run"
    assert report.errors[0].todo == "save the adapter as safetensors: model.save_pretrained(folder)"


def test_a_bin_gives_the_same_merge_and_the_same_factors_as_safetensors(
    good: Path, base: Make, adapter: Make, tmp_path: Path
) -> None:
    import torch

    save_as_bin(good)
    assert check(good, base(), deep=True).errors == ()
    ours = merge(good, base(), tmp_path / "bin")
    theirs = merge(adapter(base()), base(), tmp_path / "safetensors")
    assert ours.deltas == theirs.deltas
    assert ours.adapter_hash != theirs.adapter_hash
    weights = [(tmp_path / kind / "model.safetensors").read_bytes() for kind in ("bin", "safetensors")]
    assert weights[0] == weights[1]
    mine, other = load_weights(good, BaseModel.open(base())), load_weights(adapter(base()))
    assert mine.modules.keys() == other.modules.keys()
    for name, factors in mine.modules.items():
        assert torch.equal(factors.a, other.modules[name].a)
        assert torch.equal(factors.b, other.modules[name].b)


def test_nan_in_a_bin_is_found(good: Path) -> None:
    import torch

    save_as_bin(good)
    tensors = torch.load(good / "adapter_model.bin")
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
    tensors[name][3, 3] = float("nan")
    torch.save(tensors, good / "adapter_model.bin")
    report = check(good, deep=True)
    assert [(finding.where, finding.what) for finding in report.errors] == [(f"'{name}'", "holds NaN or infinity")]


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_bin_is_refused(good: Path, keep: float) -> None:
    path = save_as_bin(good) / "adapter_model.bin"
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(AdapterError, match=r"adapter_model\.bin is a damaged archive"):
        read_bin(path)


def test_safetensors_win_over_a_bin_beside_them_and_the_report_says_so(good: Path, base: Make) -> None:
    copy = save_as_bin(Path(shutil.copytree(good, good.parent / "copy"))) / "adapter_model.bin"
    shutil.copy(copy, good)
    report = check(good, base())
    assert report.facts["format"] == "safetensors"
    assert ("adapter_model.bin", "is not read: adapter_model.safetensors is there too") in [
        (finding.where, finding.what) for finding in report.findings
    ]
