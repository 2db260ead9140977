"""Live merge as a file operation: a base's folder with an adapter's change added to its weights.

The result is a plain Hugging Face folder with a record of the merge in it, whole or absent.
`python -m firectl.lora.merge ADAPTER BASE OUT` prints progress as JSON lines on stdout and the record last.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firectl._version import __version__
from firectl.errors import FirectlError, to_wire
from firectl.lora.adapter import Adapter
from firectl.lora.base_model import RECORD, BaseModel
from firectl.lora.fit import require_fit
from firectl.lora.hashing import content_hash
from firectl.lora.merge_plan import plan_merge
from firectl.lora.merge_write import MergeWriter, Progress
from firectl.lora.values import require_finite
from firectl.lora.whole_folder import whole_folder


@dataclass(frozen=True)
class MergeRecord:
    """The proof of a merge; written into the result as firectl_merge.json."""

    adapter_hash: str
    base_hash: str
    tensors_total: int
    """Tensors in the result."""
    tensors_changed: int
    """Of them, those whose stored numbers differ from the base's."""
    adapter_tensors: int
    """Tensors of the adapter; every one was used."""
    delta_norm: float
    """Frobenius norm of the whole change, before it is rounded to the base's dtype."""
    deltas: Mapping[str, float]
    """The same for each tensor that the adapter touches, by its name in the result."""
    untied: bool
    """The base tied its head to its embedding; the result has both."""
    notes: tuple[str, ...] = ()
    version: str = field(default=__version__)

    def to_document(self) -> dict[str, Any]:
        return asdict(self)


def merge(
    adapter: Path,
    base: Path,
    out: Path,
    progress: Progress | None = None,
    *,
    adapter_hash: str | None = None,
    base_hash: str | None = None,
) -> MergeRecord:
    """Write `base` with `adapter` merged into it as the new folder `out`, and return the record of it.

    Hashes that the caller knows already are taken as they are. AdapterError names whatever keeps the merge from
    being exact; then, and whenever the process is killed, there is no `out`.
    """
    opened, opened_base = Adapter.open(adapter), BaseModel.open(base)
    notes = tuple(f"{note.where}: {note.what}" for note in require_fit(opened, opened_base))
    require_finite(opened)
    plan = plan_merge(opened, opened_base)
    with whole_folder(Path(out)) as partial:
        writer = MergeWriter(opened, opened_base, plan, partial, progress)
        writer.write()
        record = MergeRecord(
            adapter_hash=adapter_hash or content_hash(opened.path, opened.files),
            base_hash=base_hash or content_hash(opened_base.path, opened_base.files),
            tensors_total=len(opened_base.tensors) + (plan.added is not None),
            tensors_changed=len(writer.changed),
            adapter_tensors=len(opened.tensors),
            delta_norm=math.sqrt(sum(norm * norm for norm in writer.deltas.values())),
            deltas=dict(writer.deltas),
            untied=plan.added is not None,
            notes=notes,
        )
        (partial / RECORD).write_text(json.dumps(record.to_document(), indent=2) + "\n")
    return record


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 done, 2 the folders are at fault, 1 anything else; errors are one JSON line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m firectl.lora.merge", description="Merge an adapter into its base.")
    parser.add_argument("adapter", type=Path, metavar="ADAPTER")
    parser.add_argument("base", type=Path, metavar="BASE")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--threads", type=int, default=None, help="threads to compute with")
    parser.add_argument("--adapter-hash", default=None, help="recorded instead of hashing ADAPTER's files")
    parser.add_argument("--base-hash", default=None, help="recorded instead of hashing BASE's files")
    options = parser.parse_args(arguments)
    try:
        if options.threads:
            import torch

            torch.set_num_threads(options.threads)
        record = merge(
            options.adapter,
            options.base,
            options.out,
            _printer(),
            adapter_hash=options.adapter_hash,
            base_hash=options.base_hash,
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
