"""Which adapters are in a base already? The record of a merge in its folder names them.

A folder without a record, or with one that cannot be read, says nothing; what became of its weights since, neither.
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
    """An adapter that was merged, by its content, and how much of its change was added."""

    adapter_hash: str
    weight: float


def merged_into(base: BaseModel) -> tuple[Merged, ...]:
    """What is in the base's weights besides the base that it once was, the oldest first."""
    try:
        path = regular_file(base.path, RECORD)
        record: Mapping[str, object] = read_json(path) if path is not None else {}
    except AdapterError:
        return ()
    listed = record.get("merged")
    # Records of earlier versions name the latest adapter alone.
    latest = {"adapter_hash": record.get("adapter_hash"), "weight": 1.0}
    return tuple(_entries(listed if isinstance(listed, list) else [latest]))


def _entries(listed: list[object]) -> Iterator[Merged]:
    for entry in listed:
        match entry:
            case {"adapter_hash": str(digest), "weight": int() | float() as weight}:
                yield Merged(digest, weight)


def merged_before(adapter: Adapter, base: BaseModel, weight: float = 1.0) -> list[Finding]:
    """An error if a merge of `adapter` with `weight` would add what is in the base already; a note on other merges.

    A weight of the other sign takes off what was added, and is none of that.
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
                "use that folder as it is, or merge into the base that it was made from, a stronger effect with "
                f"--adapter DIR=2; if its weights were replaced since, delete its {RECORD}",
            )
        ]
    count = "an adapter is" if len(merged) == 1 else f"{len(merged)} adapters are"
    return [Finding("note", WHERE, f"{count} merged into the base already; this one comes on top")]
