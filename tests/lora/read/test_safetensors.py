"""Headers of safetensors files: read as the format's own library writes them, or refused by tensor."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.errors import AdapterError
from firectl.lora.read.safetensors import Header, read_bytes, read_chunks, read_header, read_into
from tests import tiny
from tests.lora.read.fuzzing import MANY, answer, json_values
from tests.lora.read.spoil import (
    ONE,
    WEIGHTS,
    Q,
    Spoil,
    file,
    header,
    truncated,
    write_header,
)

HEADERS: dict[str, tuple[Spoil, str]] = {
    "empty file": (file(b""), "is not a safetensors file: it is 0 bytes long"),
    "seven bytes": (file(b"1234567"), "is not a safetensors file: it is 7 bytes long"),
    "a text file": (file(b"version https://git-lfs.github.com/spec/v1\n" * 9), "is not a safetensors file"),
    "a zip": (file(b"PK\x03\x04" + bytes(100)), "is a zip archive, not a safetensors file"),
    "a pickle": (file(pickle.dumps({"a": 1}) + bytes(100)), "is a pickle, not a safetensors file"),
    "header length 2^63": (file((2**63).to_bytes(8, "little") + b"{}"), "header would have 9223372036854775808 bytes"),
    "header beyond the file": (
        file((5000).to_bytes(8, "little") + b"{}"),
        "truncated: its header has 5000 bytes, the file only 2 for it",
    ),
    "header not JSON": (file((4).to_bytes(8, "little") + b"{no}"), "header is not JSON"),
    "header a list": (file((2).to_bytes(8, "little") + b"[]"), "its header does not begin with"),
    "header not UTF-8": (file((4).to_bytes(8, "little") + b'{"\xff}'), "header is not JSON"),
    "header nested deeply": (
        file((500_000).to_bytes(8, "little") + b'{"a":' * 100_000),
        "header is nested too deeply",
    ),
    "a tensor twice": (
        lambda folder: write_header(
            folder / WEIGHTS, f'{{"t": {json.dumps(ONE)}, "t": {json.dumps(ONE)}}}'.encode(), bytes(4)
        ),
        "has the key 't' twice",
    ),
    "metadata no object": (header(lambda fields: fields.update(__metadata__=[])), "__metadata__ is not an object"),
    "metadata of numbers": (
        header(lambda fields: fields.update(__metadata__={"a": 1})),
        "__metadata__ is not an object of strings",
    ),
    "a tensor no object": (
        header(lambda fields: fields.update(x=5)),
        "tensor 'x' has a description that is not an object",
    ),
    "a tensor without a name": (header(lambda fields: fields.update({"": ONE})), "empty, unprintable or overlong name"),
    "a name with a line break": (
        header(lambda fields: fields.update({"a\nb": ONE})),
        "tensor 'a\N{REPLACEMENT CHARACTER}b' has an empty, unprintable",
    ),
    "unknown dtype": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(dtype="F33")),
        "has the dtype 'F33', which is not a dtype of safetensors",
    ),
    "shape negative": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[-8, -64])),
        "shape that is not a list of at most 8 natural numbers",
    ),
    "shape of another size": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[8, 65])),
        r"F32 of shape \[8, 65\], which takes 2080 bytes; its offsets say 2048",
    ),
    "shape that overflows": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[2**62, 2**62])),
        "takes .* bytes; its offsets say 2048",
    ),
    "dtype of another size": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(dtype="BF16")),
        "takes 1024 bytes; its offsets say 2048",
    ),
    "offsets reversed": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[2048, 0])),
        "data_offsets that are not two natural numbers in order",
    ),
    "offsets negative": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[-2048, 0])),
        "data_offsets that are not two natural numbers in order",
    ),
    "offsets beyond the file": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[10**9, 10**9 + 2048])),
        "the file is truncated",
    ),
    "offsets of three numbers": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[0, 1024, 2048])),
        "data_offsets that are not two natural numbers in order",
    ),
    "offsets that are fractions": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[0.0, 2048.0])),
        "data_offsets that are not two natural numbers in order",
    ),
    "dtype a number": (header(lambda fields: fields[f"{Q}.lora_A.weight"].update(dtype=4)), "has the dtype '4'"),
    "nine dimensions": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(shape=[8, 64, 1, 1, 1, 1, 1, 1, 1])),
        "shape that is not a list of at most 8 natural numbers",
    ),
    "offsets overlap": (
        header(lambda fields: fields[f"{Q}.lora_A.weight"].update(data_offsets=[0, 2048], shape=[8, 64])),
        "overlaps the one before it",
    ),
    "a gap": (header(lambda fields: fields.pop(f"{Q}.lora_A.weight")), "belong to no tensor"),
    "bytes at the end": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"\0"),
        "1 bytes at its end belong to no tensor",
    ),
    "truncated at half": (truncated(0.5), "the file is truncated"),
    "truncated by a byte": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1]),
        "the file is truncated",
    ),
}
"""Case → how to spoil an adapter for it, and the message."""


@pytest.mark.parametrize("case", HEADERS)
def test_a_malformed_header_is_refused_by_tensor(good: Path, case: str) -> None:
    spoil, message = HEADERS[case]
    spoil(good)
    with pytest.raises(AdapterError, match=message):
        read_header(good / WEIGHTS)


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


def test_chunks_are_the_bytes_of_the_tensor_and_a_file_that_got_shorter_is_noticed(tmp_path: Path) -> None:
    path = tiny.write_safetensors(tmp_path / "x.safetensors", {"a": ("U8", (100,), bytes(range(100)))})
    (info,) = read_header(path).tensors.values()
    chunks = list(read_chunks(info, 32))
    assert [len(chunk) for chunk in chunks] == [32, 32, 32, 4]
    assert b"".join(chunks) == read_bytes(info) == bytes(range(100))
    os.truncate(path, info.start + 40)
    with pytest.raises(AdapterError, match=r"x\.safetensors ended inside tensor 'a'"):
        list(read_chunks(info, 32))
