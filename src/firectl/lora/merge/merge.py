"""Live merge as a file operation: a base's folder with an adapter's change added to its weights.

The result is a plain Hugging Face folder with a record of the merge in it, whole or absent.
`python -m firectl.lora.merge ADAPTER BASE OUT` prints progress as JSON lines on stdout and the record last.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firectl._version import __version__
from firectl.errors import AdapterError, FirectlError, to_wire
from firectl.lora.check.fit import require_fit
from firectl.lora.check.merged_before import Merged, merged_before, merged_into
from firectl.lora.check.values import require_finite
from firectl.lora.merge import arithmetic
from firectl.lora.merge.inputs import ANYTHING, Expected, Unchanged, require_hash
from firectl.lora.merge.plan import Weighted, plan_merge
from firectl.lora.merge.whole_folder import whole_folder
from firectl.lora.merge.write import MergeWriter, Progress
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import RECORD, BaseModel
from firectl.lora.read.findings import Finding, raise_for
from firectl.lora.read.folder import read_json
from firectl.lora.read.hashing import FileHash, combined, content_hash, stamp

STAMP = "stamp"
"""Key of the record in the folder alone: see `_stamp`."""
FILES = "files"
"""The same: name → size, sha256 and `hashing.stamp` of each file of the result."""


@dataclass(frozen=True)
class MergeRecord:
    """The proof of a merge; written into the result as firectl_merge.json."""

    adapter_hash: str
    """Of several adapters, the hash of their hashes and weights."""
    base_hash: str
    tensors_total: int
    """Tensors in the result."""
    tensors_changed: int
    """Of them, those whose stored numbers differ from the base's."""
    adapter_tensors: int
    """Tensors of the adapters; every one was used."""
    delta_norm: float
    """Frobenius norm of the whole change, before it is rounded to the base's dtype."""
    deltas: Mapping[str, float]
    """The same for each tensor that the adapter touches, by its name in the result."""
    untied: bool
    """The base tied its head to its embedding; the result has both."""
    notes: tuple[str, ...] = ()
    merged: tuple[Mapping[str, str | float], ...] = ()
    """{adapter_hash, weight} of each adapter in the result, those that were in the base before included."""
    version: str = field(default=__version__)
    result_hash: str = ""
    """The content hash of the result without this record; empty in the records of earlier versions."""

    def to_document(self) -> dict[str, Any]:
        return asdict(self)


def merge(
    adapter: Path | Sequence[tuple[Path, float]],
    base: Path,
    out: Path,
    progress: Progress | None = None,
    *,
    expected_adapter: Expected = ANYTHING,
    expected_base: Expected = ANYTHING,
) -> MergeRecord:
    """Write `base` with `adapter` merged into it as the new folder `out`, and return the record of it.

    Several adapters are (folder, weight) pairs: the sum of their weighted changes is added once. DATA_LOSS if a folder
    is not what is expected, or changes during the merge. AdapterError names whatever keeps the merge from being exact;
    then, and whenever the process is killed, there is no `out`. One that is there already is refused, unless it is what
    this very merge wrote.
    """
    _refuse_inside_a_merge(Path(out))
    chosen = [(adapter, 1.0)] if isinstance(adapter, Path) else list(adapter)
    unchanged = [*(Unchanged("adapter", path) for path, _ in chosen), Unchanged("base model", base)]
    try:
        return _merge(chosen, base, out, progress, expected_adapter, expected_base, unchanged)
    except (AdapterError, OSError, ValueError):
        # Damage may look like a mistake of whoever made the files.
        for what, folder, expected in (
            ("adapter", chosen[0][0], expected_adapter),
            ("base model", base, expected_base),
        ):
            if expected.files:
                require_hash(what, folder, expected, ())
        raise


def _merge(
    chosen: Sequence[tuple[Path, float]],
    base: Path,
    out: Path,
    progress: Progress | None,
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

    with ThreadPoolExecutor(1) as aside, ExitStack() as ending:
        # A merge that fails or is interrupted does not wait for the hash, which takes a second for each GB.
        ending.callback(over.set)
        # Hashing a base takes as long as merging it, and needs a core of its own.
        hashing = aside.submit(require_hash, "base model", opened_base.path, expected_base, opened_base.files, check)
        if expected_adapter.hash is None:
            adapter_hash = hash_of(opened)
        else:
            adapter_hash = require_hash("adapter", opened[0].adapter.path, expected_adapter, opened[0].adapter.files)
        if Path(out).exists():
            before = written_before(Path(out), adapter_hash, hashing.result())
            if before is not None:
                return before
        with whole_folder(Path(out)) as partial:
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
                merged=(*(entry._asdict() for entry in merged_into(opened_base)), *_entries(opened, adapter_hash)),
                result_hash=combined(writer.hashes),
            )
            used = [*(lora.files for lora, _ in opened), opened_base.files]
            for folder, files in zip(unchanged, used, strict=True):
                folder.require(files)
            document = record.to_document() | {STAMP: _stamp(partial), FILES: _files(partial, writer.hashes)}
            (partial / RECORD).write_text(json.dumps(document, indent=2) + "\n")
    return record


def _files(folder: Path, hashes: Mapping[str, FileHash]) -> dict[str, Any]:
    return {
        name: {"size": size, "sha256": digest, "stamp": stamp(folder / name)} for name, (size, digest) in hashes.items()
    }


def _require_sound(adapter: Adapter, weight: float, base: BaseModel) -> list[Finding]:
    """What is worth knowing of the merge; AdapterError if it does not fit, or is in the base already."""
    again = merged_before(adapter, base, weight)
    raise_for(again)
    return [*require_fit(adapter, base), *again]


def _entries(chosen: Sequence[Weighted], adapter_hash: str) -> Iterator[Mapping[str, str | float]]:
    alone = len(chosen) == 1 and chosen[0].weight == 1.0
    for lora, weight in chosen:
        yield Merged(adapter_hash if alone else content_hash(lora.path, lora.files), weight)._asdict()


def _refuse_inside_a_merge(out: Path) -> None:
    for parent in out.absolute().parents:
        if (parent / RECORD).is_file():
            raise AdapterError(f"{out} is inside {parent}, the result of a merge", hint=f"--out {parent}-2")


def hash_of(chosen: Sequence[Weighted]) -> str:
    """The identity of what is added: an adapter's content hash, or one over those of several and their weights."""
    hashes = [content_hash(lora.path, lora.files) for lora, _ in chosen]
    if len(chosen) == 1 and chosen[0].weight == 1.0:
        return hashes[0]
    lines = [f"{digest} {weight!r}\n" for digest, (_, weight) in zip(hashes, chosen, strict=True)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def written_before(out: Path, adapter_hash: str, base_hash: str) -> MergeRecord | None:
    """The record of the same merge, finished before in `out` by this version; None if that is anything else."""
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
    """Changes when a file of a result is added, removed or written to: reading all of it would take too long."""
    found = [path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD]
    lines = sorted(f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in found)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 done, 2 the folders are at fault, 1 anything else; errors are one JSON line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m firectl.lora.merge", description="Merge an adapter into its base.")
    parser.add_argument("adapter", type=Path, metavar="ADAPTER")
    parser.add_argument("base", type=Path, metavar="BASE")
    parser.add_argument("out", type=Path, metavar="OUT")
    for what in ("adapter", "base"):
        name = what.upper()
        parser.add_argument(f"--{what}-hash", default=None, help=f"{name} must hash to this")
        parser.add_argument(f"--{what}-file", action="append", help="a file of it that the hash covers; default: all")
    options = parser.parse_args(arguments)
    try:
        record = merge(
            options.adapter,
            options.base,
            options.out,
            _printer(),
            expected_adapter=Expected(options.adapter_hash, options.adapter_file),
            expected_base=Expected(options.base_hash, options.base_file),
        )
    except FirectlError as error:
        sys.stderr.write(json.dumps({"error": to_wire(error)}) + "\n")
        return int(error.exit_code)
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        sys.stderr.write(json.dumps({"error": to_wire(FirectlError(what))}) + "\n")
        return 1
    _print_line(record.to_document())
    return 0


def _print_line(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _printer(interval: float = 0.2) -> Progress:
    """Prints progress at most every `interval` seconds, and its end."""
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= interval:
            last = now
            _print_line({"done": done, "total": total})

    return report


if __name__ == "__main__":
    raise SystemExit(main())
