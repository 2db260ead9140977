"""Merge one or more adapters into a base and write the result to a new folder.

The result is a complete Hugging Face folder with a record of the merge. If the merge fails, no result folder is left.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firectl._version import __version__
from firectl.errors import AdapterError
from firectl.lora.check.fit import require_fit
from firectl.lora.check.merged_before import Merged, merged_before, merged_into
from firectl.lora.check.values import require_finite
from firectl.lora.merge import arithmetic
from firectl.lora.merge.inputs import ANYTHING, Expected, Unchanged, require_hash
from firectl.lora.merge.plan import Weighted, plan_merge
from firectl.lora.merge.whole_folder import whole_folder
from firectl.lora.merge.write import MergeWriter, OnProgress
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import RECORD, BaseModel
from firectl.lora.read.findings import Finding, raise_for
from firectl.lora.read.folder import read_json
from firectl.lora.read.hashing import combined, stamp

STAMP = "stamp"
"""Key of the folder's stamp (see `_stamp`). Only the record in the folder has it, not the returned record."""
FILES = "files"
"""Key of file name → size, sha256 and `hashing.stamp` of each file of the result. Only in the folder's record too."""


@dataclass(frozen=True)
class MergeRecord:
    """The proof of a merge, written into the result as firectl_merge.json."""

    adapter_hash: str
    """The adapter's content hash; for several adapters, one hash of their hashes and weights."""
    base_hash: str
    tensors_total: int
    """Number of tensors in the result."""
    tensors_changed: int
    """Number of tensors whose stored numbers differ from the base's."""
    adapter_tensors: int
    """Number of tensors in the adapters. The merge used all of them."""
    delta_norm: float
    """Frobenius norm of the whole change, before it is rounded to the base's dtype."""
    deltas: Mapping[str, float]
    """Frobenius norm of the change of each changed tensor, by its name in the result."""
    untied: bool
    """Whether the base ties its head to its embedding, and the result has both as separate tensors."""
    notes: tuple[str, ...] = ()
    merged: tuple[Mapping[str, str | float], ...] = ()
    """{adapter_hash, weight} of each adapter in the result, including those already merged into the base."""
    version: str = field(default=__version__)
    result_hash: str = ""
    """The content hash of the result without this record. Empty in records of earlier versions."""

    def to_document(self) -> dict[str, Any]:
        return asdict(self)


def merge(
    adapter: Path | Sequence[tuple[Path, float]],
    base: Path,
    out: Path,
    progress: OnProgress | None = None,
    *,
    expected_adapter: Expected = ANYTHING,
    expected_base: Expected = ANYTHING,
) -> MergeRecord:
    """Write `base` with `adapter` merged into it as the new folder `out`. Returns the record of the merge.

    Several adapters are (folder, weight) pairs; the sum of their weighted changes is added once. DATA_LOSS if a folder
    does not have the expected content, or changes during the merge. AdapterError names what prevents an exact merge.
    After any error, or after the process is killed, `out` does not exist. An `out` that exists is refused, unless the
    same merge wrote it before.
    """
    _refuse_inside_a_merge(out)
    chosen = [(adapter, 1.0)] if isinstance(adapter, Path) else list(adapter)
    unchanged = [*(Unchanged("adapter", path) for path, _ in chosen), Unchanged("base model", base)]
    try:
        return _merge(chosen, base, out, progress, expected_adapter, expected_base, unchanged)
    except (AdapterError, OSError, ValueError):
        # The error may come from damaged files: then report the damage instead.
        folders = (("adapter", chosen[0][0], expected_adapter), ("base model", base, expected_base))
        for what, folder, expected in folders:
            if expected.files:
                require_hash(what, folder, expected, ())
        raise


def _merge(
    chosen: Sequence[tuple[Path, float]],
    base: Path,
    out: Path,
    progress: OnProgress | None,
    expected_adapter: Expected,
    expected_base: Expected,
    unchanged: Sequence[Unchanged],
) -> MergeRecord:
    opened, opened_base = [Weighted(Adapter.open(path), weight) for path, weight in chosen], BaseModel.open(base)
    found = [note for lora, weight in opened for note in _require_sound(lora, weight, opened_base)]
    notes = tuple(dict.fromkeys(f"{note.where}: {note.what}" for note in found))
    for lora, _ in opened:
        require_finite(lora)
    plan = plan_merge(opened, opened_base)
    arithmetic.numpy()
    over = threading.Event()

    def check() -> None:
        if over.is_set():
            raise InterruptedError

    with ThreadPoolExecutor(1) as background, ExitStack() as ending:
        # Hashing a base takes as long as merging, and needs a core of its own. A merge that fails must not wait
        # for the hash.
        ending.callback(over.set)
        hashing = background.submit(
            require_hash, "base model", opened_base.path, expected_base, opened_base.files, check
        )
        own = [
            Merged(require_hash("adapter", lora.path, expected_adapter, lora.files), weight) for lora, weight in opened
        ]
        adapter_hash = _identity(own)
        if out.exists():
            before = written_before(out, adapter_hash, hashing.result())
            if before is not None:
                return before
        with whole_folder(out) as partial:
            writer = MergeWriter(opened_base, plan, partial, progress)
            writer.write()
            record = MergeRecord(
                adapter_hash=adapter_hash,
                base_hash=hashing.result(),
                tensors_total=len(opened_base.tensors) + (plan.added is not None),
                tensors_changed=len(writer.changed),
                adapter_tensors=sum(len(lora.tensors) for lora, _ in opened),
                delta_norm=math.sqrt(sum(norm * norm for norm in writer.norms.values())),
                deltas=dict(writer.norms),
                untied=plan.added is not None,
                notes=notes,
                merged=tuple(entry._asdict() for entry in (*merged_into(opened_base), *own)),
                result_hash=combined(writer.hashes),
            )
            used = [*(lora.files for lora, _ in opened), opened_base.files]
            for folder, files in zip(unchanged, used, strict=True):
                folder.require(files)
            entries = {name: {**each._asdict(), "stamp": stamp(partial / name)} for name, each in writer.hashes.items()}
            document = record.to_document() | {STAMP: _stamp(partial), FILES: entries}
            (partial / RECORD).write_text(json.dumps(document, indent=2) + "\n")
    return record


def _require_sound(adapter: Adapter, weight: float, base: BaseModel) -> list[Finding]:
    """Return notes about the merge. AdapterError if the adapter does not fit or is already merged into the base."""
    again = merged_before(adapter, base, weight)
    raise_for(again)
    return [*require_fit(adapter, base), *again]


def _refuse_inside_a_merge(out: Path) -> None:
    for parent in out.absolute().parents:
        if (parent / RECORD).is_file():
            raise AdapterError(f"{out} is inside {parent}, the result of a merge", hint=f"--out {parent}-2")


def _identity(chosen: Sequence[Merged]) -> str:
    """Return the content hash of one adapter, or one hash of the content hashes and weights of several."""
    if len(chosen) == 1 and chosen[0].weight == 1.0:
        return chosen[0].adapter_hash
    lines = [f"{digest} {weight!r}\n" for digest, weight in chosen]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def written_before(out: Path, adapter_hash: str, base_hash: str) -> MergeRecord | None:
    """Return the record of `out` if this version of firectl wrote `out` in the same merge before, else None."""
    try:
        document = dict(read_json(out / RECORD))
        document.pop(FILES, None)
        untouched = document.pop(STAMP, None) == _stamp(out)
        found = MergeRecord(**document)
        whole = len(BaseModel.open(out).tensors) == found.tensors_total
    except (OSError, TypeError, AdapterError):
        return None
    same = (found.adapter_hash, found.base_hash, found.version) == (adapter_hash, base_hash, __version__)
    return found if same and whole and untouched else None


def _stamp(folder: Path) -> str:
    """Return a hash that changes when a file of a result is added, removed or written. Does not read the files."""
    found = [path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD]
    lines = sorted(f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in found)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
