"""Whatever the bytes, a reader answers with what it read or with an AdapterError, never with another exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.adapter_config import parse_config
from firectl.lora.read.bin_file import convert
from firectl.lora.read.safetensors import Header, read_bytes, read_header, read_into
from tests import tiny
from tests.lora.conftest import Make

T = TypeVar("T")

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(MANY, max_examples=60)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    *("r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *("bias", "use_dora", "use_rslora", "lora_bias", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
    *("base_model_name_or_path", "task_type", "init_lora_weights", "ensure_weight_tying", "peft_type"),
)


def answer(read: Callable[[], T], begins: str) -> T | None:
    """What `read` returns, or None if it refuses, saying so in one printable line that names the file."""
    try:
        return read()
    except AdapterError as error:
        message = error.message
    assert message.startswith(begins)
    assert message.isprintable()
    return None


@MANY
@given(changes=st.dictionaries(st.sampled_from(FIELDS), json_values, min_size=1, max_size=3))
def test_any_values_in_the_fields_of_a_config(changes: dict[str, Any]) -> None:
    document = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], **changes}
    config = answer(lambda: parse_config(document), "adapter_config.json: ")
    if config is not None:
        assert config.r >= 1
        targets = config.targets
        assert answer(lambda: targets.matcher(32)("layers.0.q_proj"), "adapter_config.json: ") in (True, False, None)


@MANY
@given(data=st.binary(max_size=64), length=st.none() | st.integers(0, 2**64 - 1))
def test_any_bytes_as_a_safetensors_file(tmp_path: Path, data: bytes, length: int | None) -> None:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(data if length is None else length.to_bytes(8, "little") + data)
    header = answer(lambda: read_header(path), "adapter_model.safetensors")
    assert header is None or isinstance(header, Header)


@MANY
@given(
    fields=st.dictionaries(
        st.text(max_size=4) | st.just("__metadata__"),
        json_values
        | st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "BF16", "F4", "X", 1]),
                "shape": st.lists(st.integers(-1, 3), max_size=3) | json_values,
                "data_offsets": st.lists(st.integers(-1, 24), min_size=2, max_size=2) | json_values,
            }
        ),
        max_size=3,
    ),
    size=st.integers(0, 24),
)
def test_any_header_describes_the_file_or_is_refused(tmp_path: Path, fields: dict[str, Any], size: int) -> None:
    path = tmp_path / "adapter_model.safetensors"
    text = json.dumps(fields).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    header = answer(lambda: read_header(path), "adapter_model.safetensors")
    if header is None:
        return
    assert sum(info.nbytes for info in header.tensors.values()) == size
    # The format's own library agrees that it is sound.
    from safetensors import safe_open

    with safe_open(path, "np") as theirs:
        assert set(theirs.keys()) == set(header.tensors)


@FEW
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_bin_with_any_bytes_flipped(tmp_path: Path, flips: list[tuple[float, int]]) -> None:
    import torch

    torch.save({"a": torch.arange(4.0), "b": torch.ones(2, 2).half()}, tmp_path / "sound.bin")
    data = bytearray((tmp_path / "sound.bin").read_bytes())
    for position, value in flips:
        data[int(position * len(data))] ^= value
    path = tmp_path / "adapter_model.bin"
    path.write_bytes(data)
    copy = tmp_path / "copy.safetensors"
    copy.unlink(missing_ok=True)
    answer(lambda: convert(path, copy), "adapter_model.bin")
    for info in read_header(copy).tensors.values() if copy.exists() else ():
        assert len(read_bytes(info)) == info.nbytes


@FEW
@given(flips=st.lists(st.tuples(st.integers(0, 7000), st.integers(1, 255)), min_size=1, max_size=4))
def test_an_adapter_with_any_bytes_of_its_header_flipped(
    good: Path, base: Make, adapter: Make, flips: list[tuple[int, int]]
) -> None:
    path = good / "adapter_model.safetensors"
    data = bytearray((adapter(base()) / path.name).read_bytes())
    for position, value in flips:
        data[position % len(data)] ^= value
    path.write_bytes(data)
    report = check(good, base(), deep=True)
    document = json.dumps(report.to_document())
    assert document.isprintable()
    if report.ok:
        assert len(Adapter.open(good).modules) == 14


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_headers_are_read_as_the_formats_own_library_writes_them(tmp_path: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {
        "matrix": torch.randn(3, 5).to(getattr(torch, dtype)),
        "scalar": torch.tensor(1.0),
        "empty": torch.empty(0, 7),
        "integers": torch.arange(5),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "eight": torch.ones(4).to(torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    header = read_header(tmp_path / "x.safetensors")
    assert header.metadata == {"format": "pt"}
    assert {name: info.shape for name, info in header.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    info = header.tensors["matrix"]
    values = torch.frombuffer(read_bytes(info), dtype=getattr(torch, dtype)).view(3, 5)
    assert torch.equal(values, tensors["matrix"])
    row = bytearray(5 * values.element_size())
    read_into(info, len(row), memoryview(row))
    assert torch.equal(torch.frombuffer(row, dtype=values.dtype), values[1])


def test_tiny_files_of_four_and_six_bits_are_counted_in_bits(tmp_path: Path) -> None:
    path = tiny.write_safetensors(
        tmp_path / "x.safetensors", {"a": ("F4", (2, 3), b"\0\0\0"), "b": ("F6_E2M3", (4,), b"\0" * 3)}
    )
    assert [info.nbytes for info in read_header(path).tensors.values()] == [3, 3]
