"""Read what a safetensors file contains: names, dtypes, shapes, and the position of each tensor's bytes.

Reads headers with the standard library alone, refuses malformed ones, and never interprets the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from firectl.errors import AdapterError
from firectl.lora.read.folder import parse_json, quoted

MAX_HEADER = 100_000_000
"""Largest header in bytes. The safetensors library has the same limit."""
MAX_DIMENSIONS = 8
MAX_NAME = 1024

BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""dtype of the format → bits per number."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor in a file. `start` and `end` are byte positions in `file`, header included."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """`tensors` in the order of their bytes; the first begins at byte `data_start`."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file. AdapterError names the file, the tensor and its problem."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise AdapterError(f"{path.name} {_UNKNOWN}: it is {size} bytes long")
        length = int.from_bytes(prefix, "little")
        if length > MAX_HEADER:
            raise AdapterError(f"{path.name} {_looks_like(prefix)}: its header would have {length} bytes")
        if 8 + length > size:
            what = "is truncated" if _looks_like(prefix) == _UNKNOWN else _looks_like(prefix)
            raise AdapterError(f"{path.name} {what}: its header has {length} bytes, the file only {size - 8} for it")
        text = file.read(length)
    if not text.startswith(b"{"):
        raise AdapterError(f"{path.name} {_looks_like(prefix)}: its header does not begin with '{{'")
    fields = parse_json(text, f"{path.name}: header")
    metadata = _metadata(fields.pop("__metadata__", {}), path)
    data_start = 8 + length
    tensors = [_tensor(name, field, path, data_start, size) for name, field in fields.items()]
    tensors.sort(key=lambda info: (info.start, info.end))
    _check_no_gaps(tensors, path, data_start, size)
    return Header({info.name: info for info in tensors}, metadata, data_start)


def read_bytes(info: TensorInfo) -> bytearray:
    """Read the raw bytes of a tensor. AdapterError if the file became shorter after its header was read."""
    data = bytearray(info.nbytes)
    read_into(info, 0, memoryview(data))
    return data


def read_into(info: TensorInfo, offset: int, view: memoryview) -> None:
    """Fill `view` with a tensor's bytes, from byte `offset` of the tensor. AdapterError as in `read_bytes`."""
    with info.file.open("rb", buffering=0) as file:
        file.seek(info.start + offset)
        while view:
            count = file.readinto(view)
            if not count:
                raise AdapterError(f"{info.file.name} ended inside tensor {quoted(info.name)}")
            view = view[count:]


def read_chunks(info: TensorInfo, size: int = 4 * 2**20) -> Iterator[bytearray]:
    """Yield the raw bytes of a tensor in pieces of at most `size` bytes. `size` must be a multiple of 8."""
    for offset in range(0, info.nbytes, size):
        chunk = bytearray(min(size, info.nbytes - offset))
        read_into(info, offset, memoryview(chunk))
        yield chunk


def _metadata(value: object, path: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise AdapterError(f"{path.name}: __metadata__ is not an object of strings")
    return value


def _tensor(name: str, field: object, path: Path, data_start: int, size: int) -> TensorInfo:
    def wrong(what: str) -> AdapterError:
        return AdapterError(f"{path.name}: tensor {quoted(name)} {what}")

    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise wrong("has an empty, unprintable or overlong name")
    if not isinstance(field, dict):
        raise wrong("has a description that is not an object")
    dtype, shape, offsets = field.get("dtype"), field.get("shape"), field.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise wrong(f"has the dtype {quoted(str(dtype))}, which is not a dtype of safetensors")
    if not _naturals(shape) or len(shape) > MAX_DIMENSIONS:
        raise wrong(f"has a shape that is not a list of at most {MAX_DIMENSIONS} natural numbers")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise wrong("has data_offsets that are not two natural numbers in order")
    start, end = offsets
    if data_start + end > size:
        raise wrong(f"ends at byte {end} of the data, which has only {size - data_start}: the file is truncated")
    bits = BITS[dtype] * math.prod(shape)
    if bits != 8 * (end - start):
        raise wrong(f"is {dtype} of shape {shape}, which takes {bits / 8:.20g} bytes; its offsets say {end - start}")
    return TensorInfo(name, dtype, tuple(shape), path, data_start + start, data_start + end)


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _check_no_gaps(tensors: list[TensorInfo], path: Path, data_start: int, size: int) -> None:
    position = data_start
    for info in tensors:
        if info.start < position:
            raise AdapterError(f"{path.name}: tensor {quoted(info.name)} overlaps the one before it")
        if info.start > position:
            gap = info.start - position
            raise AdapterError(f"{path.name}: {gap} bytes before {quoted(info.name)} belong to no tensor")
        position = info.end
    if position != size:
        raise AdapterError(f"{path.name}: {size - position} bytes at its end belong to no tensor")


_UNKNOWN = "is not a safetensors file"


def _looks_like(prefix: bytes) -> str:
    if prefix.startswith(b"PK\x03\x04"):
        return "is a zip archive, not a safetensors file"
    is_pickle = prefix.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
    return "is a pickle, not a safetensors file" if is_pickle else _UNKNOWN
