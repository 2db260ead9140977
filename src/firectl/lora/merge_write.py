"""Writes the files of a merged model: shard by shard, tensor by tensor, a block of rows at a time.

W' = W + scaling·B·A in float32, stored in W's dtype; everything else is copied as it is.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from firectl.errors import AdapterError
from firectl.lora import arithmetic
from firectl.lora.adapter import Adapter
from firectl.lora.base_model import CONFIG, INDEX, BaseModel
from firectl.lora.folder import quoted, read_json
from firectl.lora.merge_plan import Edit, Plan
from firectl.lora.safetensors import TensorInfo, read_bytes, read_chunks, read_header
from firectl.lora.weights import Tensors

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) after each piece of the result's weights."""

BLOCK = 4 * 2**20
"""Numbers computed at a time."""
MIN_ROWS = 128
"""Rows of a block at least; a product of fewer may round differently from the whole matrix's."""
_HUGE = 1e30
"""A change of this norm could overflow float32."""


class MergeWriter:
    """One merge; `changed` and `deltas` fill as the shards go by."""

    def __init__(self, adapter: Adapter, base: BaseModel, plan: Plan, out: Path, progress: Progress | None) -> None:
        self._base = base
        self._plan = plan
        self._out = out
        self._progress = progress or (lambda done, total: None)
        self._tensors = Tensors(adapter)
        self._added = plan.edits[plan.added] if plan.added is not None else None
        self._done = 0
        self._total = sum((base.path / shard).stat().st_size for shard in base.shards)
        self.changed: set[str] = set()
        """Tensors whose stored numbers differ from the base's."""
        self.deltas: dict[str, float] = {}
        """Norm of the change of each tensor that the adapter touches."""

    def write(self) -> None:
        """Write every file of the result. AdapterError names the tensor that cannot be written exactly."""
        for mine, theirs in self._plan.same:
            self._require_same(mine, theirs)
        if self._added is not None:
            self._total += self._added.source.nbytes
        for shard in self._base.shards:
            with (self._out / shard).open("wb") as target:
                self._write_shard(shard, target)
        for name in self._base.files:
            if name not in self._base.shards:
                (self._out / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(self._base.path / name, self._out / name)
        if self._added is not None:
            self._untie(self._added)
        self._progress(self._total, self._total)

    def _write_shard(self, shard: str, target: IO[bytes]) -> None:
        source = self._base.path / shard
        header = read_header(source)
        names = list(header.tensors)
        with source.open("rb") as file:
            prefix = file.read(header.data_start)
        # The head goes where the embedding is, so that a single file stays a single file.
        if self._added is not None and self._added.source.file.name == shard:
            prefix = _grow(prefix, self._added)
            names.append(self._added.name)
        target.write(prefix)
        for name in names:
            edit = self._plan.edits.get(name)
            for piece in read_chunks(header.tensors[name]) if edit is None else self._edited(edit):
                target.write(piece)
                self._done += len(piece)
                self._progress(self._done, self._total)

    def _edited(self, edit: Edit) -> Iterator[bytearray]:
        """The bytes of one changed tensor, a block of rows at a time."""
        import torch

        operands = _Operands.load(edit, self._tensors)
        dtype = arithmetic.torch_dtype(edit.source.dtype)
        height = edit.source.shape[0]
        row_bytes = edit.source.nbytes // height
        squared = 0.0
        for first, count in _blocks(edit):
            old_bytes = read_bytes(edit.source, first * row_bytes, count * row_bytes)
            old = torch.frombuffer(old_bytes, dtype=dtype).view(count, *edit.source.shape[1:])
            new = operands.apply(old, first, count)
            if operands.may_overflow and not arithmetic.is_finite(new):
                raise AdapterError(
                    f"the merged tensor {quoted(edit.name)} overflows {edit.source.dtype}",
                    hint="lora_alpha or the weights are too large, or the base model is broken there",
                )
            if operands.norm is None:
                squared += float(torch.sum((new.double() - old.double()) ** 2))
            new_bytes = arithmetic.raw_bytes(new)
            if new_bytes != old_bytes:
                self.changed.add(edit.name)
            yield new_bytes
        self.deltas[edit.name] = math.sqrt(squared) if operands.norm is None else operands.norm

    def _require_same(self, mine: TensorInfo, theirs: TensorInfo) -> None:
        ours = self._tensors.get(mine).to(arithmetic.torch_dtype(theirs.dtype))
        if arithmetic.raw_bytes(ours) != read_bytes(theirs):
            raise AdapterError(
                f"the adapter saved {quoted(mine.name)} with other values than the base model's, which ties its head "
                "to its embedding",
                hint="merge it with PEFT and deploy the merged model",
            )

    def _untie(self, head: Edit) -> None:
        config = dict(self._base.config)
        config["tie_word_embeddings"] = False
        text = config.get("text_config")
        if isinstance(text, dict) and "tie_word_embeddings" in text:
            config["text_config"] = {**text, "tie_word_embeddings": False}
        _write_json(self._out / CONFIG, config)
        if self._base.indexed:
            index = read_json(self._base.path / INDEX)
            index["weight_map"][head.name] = head.source.file.name
            metadata = index.get("metadata")
            if isinstance(metadata, dict) and isinstance(metadata.get("total_size"), int | float):
                metadata["total_size"] += head.source.nbytes
            _write_json(self._out / INDEX, index)


@dataclass(frozen=True)
class _Operands:
    """The tensors that an edit computes with, loaded."""

    edit: Edit
    whole: Tensor | None
    a: Tensor | None
    b: Tensor | None
    magnitude: Tensor | None
    b_bias: Tensor | None
    norm: float | None
    """Of the change, where it is known without looking at the base."""

    @classmethod
    def load(cls, edit: Edit, tensors: Tensors) -> _Operands:
        pair = edit.pair
        whole = tensors.get(edit.replacement.info) if edit.replacement is not None else None
        a = b = magnitude = b_bias = norm = None
        if pair is not None and edit.is_bias and pair.b_bias is not None:
            b_bias = tensors.get(pair.b_bias)
        elif pair is not None:
            a, b = tensors.get(pair.a), tensors.get(pair.b)
            if pair.magnitude is not None:
                magnitude = tensors.get(pair.magnitude)
            elif whole is None:
                norm = arithmetic.delta_norm(a, b, pair.scaling)
        return cls(edit, whole, a, b, magnitude, b_bias, norm)

    @property
    def may_overflow(self) -> bool:
        return self.norm is None or self.norm > _HUGE or self.edit.source.dtype == "F16"

    def apply(self, old: Tensor, first: int, count: int) -> Tensor:
        """The new values of `count` rows from row `first` on; `old` are the base's."""
        rows = slice(first, first + count)
        new = old if self.whole is None else self.whole[rows].to(old.dtype)
        scaling = self.edit.pair.scaling if self.edit.pair is not None else 0.0
        if self.b_bias is not None:
            return arithmetic.merged_bias(new, self.b_bias[rows], scaling)
        if self.a is None or self.b is None:
            return new
        if self.edit.transposed:
            return arithmetic.merged(new, self.a[:, rows], self.b, scaling, transposed=True, magnitude=self.magnitude)
        magnitude = self.magnitude[rows] if self.magnitude is not None else None
        return arithmetic.merged(new, self.a, self.b[rows], scaling, transposed=False, magnitude=magnitude)


def _blocks(edit: Edit) -> Iterator[tuple[int, int]]:
    """(first row, rows) of each block; all about equally high."""
    height = edit.source.shape[0]
    rows = max(MIN_ROWS, BLOCK * height // edit.source.numel)
    if edit.transposed and edit.pair is not None and edit.pair.magnitude is not None:
        rows = height  # DoRA's norms run down the columns then
    rows = math.ceil(height / math.ceil(height / rows))
    for first in range(0, height, rows):
        yield first, min(rows, height - first)


def _grow(prefix: bytes, added: Edit) -> bytes:
    """The length and header of a safetensors file with one more tensor at its end."""
    fields = json.loads(prefix[8:])
    end = max((field["data_offsets"][1] for name, field in fields.items() if name != "__metadata__"), default=0)
    fields[added.name] = {
        "dtype": added.source.dtype,
        "shape": list(added.source.shape),
        "data_offsets": [end, end + added.source.nbytes],
    }
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
