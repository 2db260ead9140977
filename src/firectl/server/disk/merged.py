"""Is a folder under merged/ complete and unchanged since its merge? Its name and its record tell what it should hold.

The record is the file `firectl_merge.json`, which a finished merge writes into the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from firectl.lora.read.hashing import FileHash, combined
from firectl.server.disk.integrity import Examined, Stamps, untouched

RECORD = "firectl_merge.json"
_FILES = "files"


class Condition(Enum):
    """The state of a merged folder, as far as it can be known without reading its files."""

    ABSENT = "absent"
    USELESS = "useless"
    """The folder has no valid record of its files: an earlier version merged it, or the record is damaged."""
    TOUCHED = "touched"
    """The size, time or inode of a file differs from the record, so its content may have changed."""
    WHOLE = "whole"


def short_hash(content_hash: str) -> str:
    """Return the first 16 hex digits of a content hash."""
    return content_hash.removeprefix("sha256:")[:16]


def merged_key(base_hash: str, adapter_hash: str) -> str:
    """Return the name of the folder under merged/ for these contents."""
    return f"{short_hash(base_hash)}-{short_hash(adapter_hash)}"


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record that a finished merge left in its folder; None where it is missing or damaged."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def proof(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record without its list of files."""
    return {name: value for name, value in record.items() if name != _FILES}


def condition(folder: Path) -> Condition:
    """Return the condition of a merged folder, without reading its large files."""
    record = read_record(folder)
    if record is None:
        return Condition.USELESS if folder.is_dir() else Condition.ABSENT
    files = recorded_files(folder, record)
    if files is None:
        return Condition.USELESS
    return Condition.WHOLE if untouched(folder, _stamps(record)) else Condition.TOUCHED


def recorded_files(folder: Path, record: Mapping[str, Any]) -> dict[str, FileHash] | None:
    """Return the size and hash of each file, by name; None if the record does not match the folder's name."""
    try:
        files = {name: FileHash(int(file["size"]), str(file["sha256"])) for name, file in record[_FILES].items()}
        key = merged_key(record["base_hash"], record["adapter_hash"])
        fits = key == folder.name and combined(files) == record["result_hash"]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return files if fits else None


def remember(folder: Path, record: Mapping[str, Any], found: Examined) -> None:
    """Write the stamps of files whose content was verified into the folder's record."""
    files = {name: {**file, "stamp": found.stamps[name]} for name, file in record[_FILES].items()}
    fresh = folder / f".{RECORD}.new"
    fresh.write_text(json.dumps({**record, _FILES: files}, indent=2) + "\n")
    os.replace(fresh, folder / RECORD)


def _stamps(record: Mapping[str, Any]) -> Stamps:
    return {name: file.get("stamp", []) for name, file in record[_FILES].items()}
