"""Find the adapters that are already merged into a base, from the merge record in the base's folder.

Finds none if the record is missing or unreadable. Cannot detect weights that were changed after the merge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from firectl.errors import AdapterError
from firectl.lora.read.adapter import Adapter
from firectl.lora.read.base_model import RECORD, BaseModel
from firectl.lora.read.findings import Finding
from firectl.lora.read.folder import read_json, regular_file
from firectl.lora.read.hashing import content_hash

WHERE = f"base model: {RECORD}"


class Merged(NamedTuple):
    """The content hash of a merged adapter, and the factor by which its change was multiplied."""

    adapter_hash: str
    weight: float


def merged_into(base: BaseModel) -> tuple[Merged, ...]:
    """Return the adapters that were merged into the base, oldest first."""
    try:
        path = regular_file(base.path, RECORD)
        record: Mapping[str, object] = read_json(path) if path is not None else {}
    except AdapterError:
        return ()
    listed = record.get("merged")
    # Records of earlier versions name only the latest adapter.
    latest = {"adapter_hash": record.get("adapter_hash"), "weight": 1.0}
    return tuple(_entries(listed if isinstance(listed, list) else [latest]))


def _entries(listed: list[object]) -> Iterator[Merged]:
    for entry in listed:
        match entry:
            case {"adapter_hash": str(digest), "weight": int() | float() as weight}:
                yield Merged(digest, weight)


def merged_before(adapter: Adapter, base: BaseModel, weight: float = 1.0) -> list[Finding]:
    """Return an error if `adapter` is already merged into the base, or a note if another adapter is.

    A `weight` of the opposite sign undoes the earlier merge and is not an error.
    """
    merged = merged_into(base)
    if not merged:
        return []
    own = content_hash(adapter.path, adapter.files)
    if sum(entry.weight for entry in merged if entry.adapter_hash == own) * weight > 0:
        return [
            Finding(
                "error",
                WHERE,
                "this adapter is merged into the base already: it would be applied twice",
                "use that folder as it is, or merge into the base that it was made from, with --adapter DIR=2 for a "
                f"stronger effect; if its weights were replaced after the merge, delete its {RECORD}",
            )
        ]
    count = "an adapter is" if len(merged) == 1 else f"{len(merged)} adapters are"
    return [Finding("note", WHERE, f"{count} merged into the base already; this one is added to it")]
