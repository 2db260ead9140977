"""What a `.bin` file written by torch.save holds, read without torch and without running its pickle.

The pickle's instructions are followed symbolically: only those that describe tensors are known, every name it
refers to must be one of a handful, and nothing is ever imported or called. Weights stay where they are.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firectl.errors import AdapterError
from firectl.lora.folder import printable, quoted
from firectl.lora.safetensors import BITS, MAX_DIMENSIONS, MAX_NAME, TensorInfo

MAX_PICKLE = 4 * 2**20
"""Bytes of data.pkl, which describes each tensor in some 150; more would take long to follow."""

_STORAGES = {
    ("torch", "DoubleStorage"): "F64",
    ("torch", "FloatStorage"): "F32",
    ("torch", "HalfStorage"): "F16",
    ("torch", "BFloat16Storage"): "BF16",
    ("torch", "LongStorage"): "I64",
    ("torch", "IntStorage"): "I32",
    ("torch", "ShortStorage"): "I16",
    ("torch", "CharStorage"): "I8",
    ("torch", "ByteStorage"): "U8",
    ("torch", "BoolStorage"): "BOOL",
}
_ORDERED_DICT = ("collections", "OrderedDict")
_TENSOR = ("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = ("torch._utils", "_rebuild_parameter")
_GLOBALS = {*_STORAGES, _ORDERED_DICT, _TENSOR, _PARAMETER}
_HINT = "save the adapter as safetensors: model.save_pretrained(folder)"


@dataclass(frozen=True, slots=True)
class _Global:
    path: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    numel: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_bin(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a torch `.bin` file. AdapterError if it is anything but a flat, contiguous dictionary of them."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"PK\x03\x04":
        kind = "a bare pickle" if magic.startswith(b"\x80") else "not a file of torch.save"
        raise AdapterError(f"{path.name} is {kind}; nothing in it was run", hint=_HINT)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"{path.name} is a damaged archive: {error}") from None


def _read_archive(archive: zipfile.ZipFile, path: Path) -> dict[str, TensorInfo]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1 or len(entries) != len(archive.infolist()):
        raise AdapterError(f"{path.name} is a zip archive, but not one of torch.save", hint=_HINT)
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in entries:
        raise AdapterError(f"{path.name} is a TorchScript program, not weights", hint=_HINT)
    packed = [name for name, entry in entries.items() if entry.compress_type != zipfile.ZIP_STORED]
    if packed or entries[pickles[0]].file_size > MAX_PICKLE:
        raise AdapterError(f"{path.name}: {quoted((packed or pickles)[0])} is compressed or too large", hint=_HINT)
    order = archive.read(f"{prefix}byteorder") if f"{prefix}byteorder" in entries else b"little"
    if order != b"little":
        raise AdapterError(f"{path.name} is not little-endian", hint=_HINT)
    described = _Machine(path.name).run(archive.read(pickles[0]))
    if not isinstance(described, dict):
        raise AdapterError(f"{path.name} does not hold a dictionary of tensors", hint=_HINT)
    tensors = {}
    with path.open("rb") as file:
        for name, value in described.items():
            if not isinstance(name, str) or not isinstance(value, _Tensor):
                at = quoted(name) if isinstance(name, str) else "of a key that is no string"
                raise AdapterError(f"{path.name}: the entry {at} is not a tensor", hint=_HINT)
            entry = entries.get(f"{prefix}data/{value.storage.key}")
            tensors[name] = _locate(name, value, entry, path, file)
    return tensors


def _locate(name: str, tensor: _Tensor, entry: zipfile.ZipInfo | None, path: Path, file: Any) -> TensorInfo:
    at = f"{path.name}: tensor {quoted(name)}"
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise AdapterError(f"{at} has an empty, unprintable or overlong name")
    if entry is None:
        raise AdapterError(f"{at} lies in a storage that the archive lacks")
    if len(tensor.shape) > MAX_DIMENSIONS or len(tensor.shape) != len(tensor.stride):
        raise AdapterError(f"{at} has a malformed shape")
    expected = 1
    for length, stride in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if length > 1 and stride != expected:
            raise AdapterError(f"{at} is not contiguous", hint=_HINT)
        expected *= length
    itemsize = BITS[tensor.storage.dtype] // 8
    first, last = tensor.offset * itemsize, (tensor.offset + math.prod(tensor.shape)) * itemsize
    if last > min(entry.file_size, tensor.storage.numel * itemsize):
        raise AdapterError(f"{at} reaches beyond its storage")
    file.seek(entry.header_offset)
    local = file.read(30)
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        raise AdapterError(f"{at}: the archive is damaged")
    data = entry.header_offset + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    if data + last > path.stat().st_size:
        raise AdapterError(f"{at} ends beyond the file: {path.name} is truncated")
    return TensorInfo(name, tensor.storage.dtype, tensor.shape, path, data + first, data + last)


class _Machine:
    """Follows the opcodes that torch.save writes for a dictionary of tensors; any other is an AdapterError."""

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.actions: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self.marks.append(len(self.stack)),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "NONE": lambda _: self.stack.append(None),
            "NEWTRUE": lambda _: self.stack.append(True),
            "NEWFALSE": lambda _: self.stack.append(False),
            "TUPLE": lambda _: self.stack.append(tuple(self.pop_mark())),
            "TUPLE1": lambda _: self.stack.append(tuple(self.pop(1))),
            "TUPLE2": lambda _: self.stack.append(tuple(self.pop(2))),
            "TUPLE3": lambda _: self.stack.append(tuple(self.pop(3))),
            "APPEND": lambda _: self.extend(self.pop(1)),
            "APPENDS": lambda _: self.extend(self.pop_mark()),
            "SETITEM": lambda _: self.set_items(self.pop(2)),
            "SETITEMS": lambda _: self.set_items(self.pop_mark()),
            "MEMOIZE": lambda _: self.memo.__setitem__(len(self.memo), self.top()),
            "GLOBAL": lambda argument: self.push_global(*argument.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self.push_global(*self.pop(2)),
            "BINPERSID": lambda _: self.push_storage(*self.pop(1)),
            "REDUCE": lambda _: self.reduce(*self.pop(2)),
            "BUILD": lambda _: self.build(*self.pop(2)),
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
        }
        for name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"):
            self.actions[name] = self.stack.append
        for name in ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"):
            self.actions[name] = self.stack.append
        for name in ("BINPUT", "LONG_BINPUT"):
            self.actions[name] = lambda index: self.memo.__setitem__(index, self.top())
        for name in ("BINGET", "LONG_BINGET"):
            self.actions[name] = lambda index: self.stack.append(self.memo[index])

    def run(self, data: bytes) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    break
                action = self.actions.get(opcode.name)
                if action is None:
                    raise self.refused(f"uses the instruction {opcode.name}")
                action(argument)
            return self.top()
        except AdapterError:
            raise
        # Whatever else goes wrong on malformed input is a malformed file: there is no other code in here.
        except Exception as error:
            raise self.refused(f"is malformed ({type(error).__name__})") from None

    def refused(self, what: str) -> AdapterError:
        return AdapterError(f"{self.file_name}: its pickle {what}; nothing in it was run", hint=_HINT)

    def top(self) -> Any:
        return self.stack[-1]

    def pop(self, count: int) -> list[Any]:
        floor = self.marks[-1] if self.marks else 0
        if len(self.stack) - count < floor:
            raise IndexError("stack underflow")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def pop_mark(self) -> list[Any]:
        position = self.marks.pop()
        items = self.stack[position:]
        del self.stack[position:]
        return items

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise TypeError("append to something that is no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict):
            raise TypeError("set an item of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):  # hashing a deep tuple overflows the C stack
                raise TypeError("a key that is no string")
            if key in target:
                raise self.refused(f"has the key {quoted(key)} twice")
            target[key] = value

    def push_global(self, module: str, name: str) -> None:
        if (module, name) not in _GLOBALS:
            raise self.refused(f"refers to {printable(f'{module}.{name}')}, which is no tensor")
        self.stack.append(_Global((module, name)))

    def push_storage(self, identity: Any) -> None:
        kind, storage, key, _, numel = identity
        if kind != "storage" or storage.path not in _STORAGES or not isinstance(key, str) or type(numel) is not int:
            raise TypeError("a reference to something that is no storage")
        self.stack.append(_Storage(key, _STORAGES[storage.path], numel))

    def reduce(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, _Global):
            raise TypeError("a call of something that is no function")
        if function.path == _ORDERED_DICT and arguments == ():
            self.stack.append({})
        elif function.path == _PARAMETER and isinstance(arguments[0], _Tensor):
            self.stack.append(arguments[0])
        elif function.path == _TENSOR:
            storage, offset, shape, stride = arguments[:4]
            if not isinstance(storage, _Storage) or not _natural(offset, *shape, *stride):
                raise TypeError("a malformed tensor")
            self.stack.append(_Tensor(storage, offset, shape, stride))
        else:
            raise TypeError("an unknown call")

    def build(self, target: Any, _state: Any) -> None:
        # A state dict carries its modules' versions as an attribute; they say nothing about the weights.
        if not isinstance(target, dict):
            raise TypeError("state of something that is no dictionary")
        self.stack.append(target)


def _natural(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 2**63 for number in numbers)
