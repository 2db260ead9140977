"""Write the files of a merged model, shard by shard, some rows of a tensor at a time.

W' = W + scaling·B·A in float32, stored in W's dtype. The kernel copies tensors that no adapter changes.
Only a few blocks are in memory at once, whatever the size of the model.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from firectl.errors import AdapterError
from firectl.lora.merge import arithmetic
from firectl.lora.merge.block import Operands, Scratch, copy_range, reserve, write_all
from firectl.lora.merge.plan import Edit, MergePlan
from firectl.lora.merge.threads import AHEAD, Flusher, Hasher, write_behind
from firectl.lora.read.base_model import CONFIG, INDEX, BaseModel
from firectl.lora.read.folder import quoted, read_json
from firectl.lora.read.hashing import FileHash, file_hash
from firectl.lora.read.safetensors import TensorInfo, read_bytes, read_header

OnProgress = Callable[[int, int], None]
"""A function that is called with (bytes written, total bytes) after each piece of the result's weights."""

COPY = 32 * 2**20
"""Bytes copied at a time."""


class MergeWriter:
    """Writes one merge. `changed`, `norms` and `hashes` are complete after `write`."""

    def __init__(self, base: BaseModel, plan: MergePlan, out: Path, progress: OnProgress | None) -> None:
        self._base = base
        self._plan = plan
        self._out = out
        self._progress = progress or (lambda done, total: None)
        self._added = plan.edits[plan.added] if plan.added is not None else None
        self._exact = arithmetic.exact(*plan.float32_work)
        self._scratch = Scratch(AHEAD + 1)
        self.changed: set[str] = set()
        """Names of the tensors whose stored numbers differ from the base's."""
        self.norms: dict[str, float] = {}
        """Tensor name → norm of its change, for each tensor that the adapters change."""
        self.hashes: dict[str, FileHash] = {}
        """File name → size and sha256 of each file of the result."""

    def write(self) -> None:
        """Write every file of the result. AdapterError names a tensor that cannot be written exactly."""
        for mine, theirs in self._plan.same:
            _require_same(mine, theirs)
        for name in self._base.files:
            if name not in self._base.shards:
                (self._out / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(self._base.path / name, self._out / name)
        done, total = 0, sum((self._base.path / shard).stat().st_size for shard in self._base.shards)
        if self._added is not None:
            total += self._added.source.nbytes
            self._untie(self._added)
        # `Operands.compute` finds an overflow and names the tensor; numpy's warning would not.
        silent = arithmetic.numpy().errstate(over="ignore", invalid="ignore")
        # Writing must end before the files are closed: an interrupted write must not reach a file that is opened next.
        with (
            silent,
            ExitStack() as files,
            Flusher() as flusher,
            Hasher() as hasher,
            closing(write_behind(self._shards(files, flusher, hasher))) as written,
        ):
            for count in written:
                done += count
                self._progress(done, total)
        others = [path for path in self._out.rglob("*") if path.is_file() and path.name not in hasher.hashes]
        self.hashes = hasher.hashes | {path.relative_to(self._out).as_posix(): file_hash(path) for path in others}
        self._progress(total, total)

    def _shards(self, files: ExitStack, flusher: Flusher, hasher: Hasher) -> Iterator[Callable[[], int]]:
        """Yield functions that write the files in the order of their bytes, and return the number of bytes written."""
        for shard in self._base.shards:
            path = self._base.path / shard
            header = read_header(path)
            tensors = dict(header.tensors)
            source = files.enter_context(FileIO(path))
            target = files.enter_context(FileIO(self._out / shard, "x"))
            prefix = os.pread(source.fileno(), header.data_start, 0)
            # The untied head is written into the embedding's file, so that a model of one file still has one file.
            if self._added is not None and self._added.source.file.name == shard:
                prefix = _grow(prefix, self._added)
                tensors[self._added.name] = self._added.source
            reserve(target.fileno(), len(prefix) + sum(info.nbytes for info in tensors.values()))
            write_all(target.fileno(), prefix, 0)
            hasher.wrote(self._out / shard, len(prefix))
            for piece in self._pieces(tensors, source.fileno(), target.fileno(), len(prefix)):
                yield partial(_write, piece, target, flusher, hasher)
            yield partial(_end, source, target, flusher)

    def _pieces(
        self, tensors: Mapping[str, TensorInfo], source: int, target: int, start: int
    ) -> Iterator[Callable[[], int]]:
        """Yield functions that write the tensors of one shard, from byte `start` of the target."""
        # The run of unchanged tensors to copy: bytes, first byte in the source, first byte in the target.
        run = from_ = to = 0
        for name, info in tensors.items():
            edit = self._plan.edits.get(name)
            if edit is None:
                if run == 0:
                    from_, to = info.start, start
                run += info.nbytes
            else:
                yield from _copies(source, from_, target, to, run)
                run = 0
                yield from self._edited(edit, target, start)
            start += info.nbytes
        yield from _copies(source, from_, target, to, run)

    def _edited(self, edit: Edit, target: int, start: int) -> Iterator[Callable[[], int]]:
        operands = Operands.load(edit, self._exact)
        squares = 0.0
        for first, count in operands.blocks():
            data, squared, changed = operands.compute(first, count, self._scratch)
            if changed:
                self.changed.add(edit.name)
            squares += squared
            yield partial(write_all, target, data, start + first * edit.row_bytes)
        self.norms[edit.name] = operands.norm if operands.norm is not None else squares**0.5

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


def _copies(source: int, from_: int, target: int, to: int, size: int) -> Iterator[Callable[[], int]]:
    for offset in range(0, size, COPY):
        yield partial(copy_range, source, from_ + offset, target, to + offset, min(COPY, size - offset))


def _write(piece: Callable[[], int], target: FileIO, flusher: Flusher, hasher: Hasher) -> int:
    count = piece()
    flusher.wrote(target, count)
    hasher.wrote(Path(os.fsdecode(target.name)), count)
    return count


def _end(source: FileIO, target: FileIO, flusher: Flusher) -> int:
    source.close()
    flusher.close(target)
    return 0


def _require_same(mine: TensorInfo, theirs: TensorInfo) -> None:
    if arithmetic.rounded(arithmetic.read_float32(mine), theirs.dtype).tobytes() != read_bytes(theirs):
        raise AdapterError(
            f"the adapter saved {quoted(mine.name)} with other values than the base model's, which ties its head "
            "to its embedding",
            hint="merge it with PEFT and deploy the merged model",
        )


def _grow(prefix: bytes, added: Edit) -> bytes:
    """Return the first bytes of a safetensors file, length and header, with one more tensor at the end."""
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
