"""Ways to spoil an adapter's folder, for the tests of everything that reads one."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests import tiny

WEIGHTS = "adapter_model.safetensors"


CONFIG = "adapter_config.json"


Q = "base_model.model.model.layers.0.self_attn.q_proj"


Raw = dict[str, tuple[str, Sequence[int], bytes]]


Spoil = Callable[[Path], object]


class Payload:
    """A pickle that would write a file named in the environment if it were ever run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch $FIRECTL_TEST_CANARY",)


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(path: Path, text: bytes, data: bytes) -> None:
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def raw_tensors(path: Path) -> Raw:
    header, data = header_of(path)
    return {
        name: (field["dtype"], field["shape"], data[slice(*field["data_offsets"])])
        for name, field in header.items()
        if name != "__metadata__"
    }


def config(**fields: Any) -> Spoil:
    """Set fields of the config; `...` removes one."""

    def spoil(folder: Path) -> None:
        document = json.loads((folder / CONFIG).read_text()) | fields
        (folder / CONFIG).write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))

    return spoil


def config_text(text: str | bytes) -> Spoil:
    return lambda folder: (folder / CONFIG).write_bytes(text if isinstance(text, bytes) else text.encode())


def tensors(change: Callable[[Raw], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        raw = raw_tensors(folder / WEIGHTS)
        change(raw)
        tiny.write_safetensors(folder / WEIGHTS, raw)

    return spoil


def header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        fields, data = header_of(folder / WEIGHTS)
        change(fields)
        write_header(folder / WEIGHTS, json.dumps(fields).encode(), data)

    return spoil


def file(data: bytes, name: str = WEIGHTS) -> Spoil:
    return lambda folder: (folder / name).write_bytes(data)


def truncated(keep: float) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[: int(len(data) * keep)])

    return spoil


def as_bin(data: bytes | Callable[[], bytes]) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / "adapter_model.bin").write_bytes(data if isinstance(data, bytes) else data())

    return spoil


def archive(pickled: bytes) -> bytes:
    """What torch.save would write around this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("archive/data.pkl", pickled)
        made.writestr("archive/version", "3\n")
    return buffer.getvalue()


def linked(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        outside = folder.parent / "outside"
        outside.write_bytes((folder / name).read_bytes() if (folder / name).exists() else b"secret")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside)

    return spoil


def in_turn(*changes: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for change in changes:
            change(folder)

    return spoil


def fifo(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def number(value: bytes) -> Callable[[Raw], object]:
    """Put 4 bytes somewhere into the middle of a tensor."""

    def change(raw: Raw) -> None:
        dtype, shape, data = raw[f"{Q}.lora_B.weight"]
        raw[f"{Q}.lora_B.weight"] = (dtype, shape, data[:400] + value + data[404:])

    return change


def renamed(old: str, new: str) -> Callable[[Raw], object]:
    def change(raw: Raw) -> None:
        for name in list(raw):
            raw[name.replace(old, new)] = raw.pop(name)

    return change


def zeros(name: str, *shape: int, dtype: str = "F32", size: int = 4) -> Callable[[Raw], object]:
    return lambda raw: raw.update({name: (dtype, shape, bytes(size * max(1, math.prod(shape))))})


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
