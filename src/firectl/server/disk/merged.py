"""Is a folder under merged/ whole, and still what its merge wrote? Its name and its record say what should be in it."""

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
    """What is known of a merged folder without reading its files."""

    ABSENT = "absent"
    USELESS = "useless"
    """Nothing tells what its files should hold: a merge of an earlier version, or a damaged record."""
    TOUCHED = "touched"
    """A file has another size, time or inode than was recorded: its content may have changed."""
    WHOLE = "whole"


def short_hash(content_hash: str) -> str:
    """The first 16 hex digits of a content hash."""
    return content_hash.removeprefix("sha256:")[:16]


def merged_key(base_hash: str, adapter_hash: str) -> str:
    """The name of the folder under merged/ for these contents."""
    return f"{short_hash(base_hash)}-{short_hash(adapter_hash)}"


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record that a finished merge left in its folder; None where there is no whole one."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def proof(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without what it says of the files in its folder."""
    return {name: value for name, value in record.items() if name != _FILES}


def condition(folder: Path) -> Condition:
    """How far a merged folder can be used."""
    record = read_record(folder)
    if record is None:
        return Condition.USELESS if folder.is_dir() else Condition.ABSENT
    files = recorded_files(folder, record)
    if files is None:
        return Condition.USELESS
    return Condition.WHOLE if untouched(folder, _stamps(record)) else Condition.TOUCHED


def recorded_files(folder: Path, record: Mapping[str, Any]) -> dict[str, FileHash] | None:
    """Name → size and hash of each file of the result; None unless the record has them and fits the folder's name."""
    try:
        files = {name: FileHash(int(file["size"]), str(file["sha256"])) for name, file in record[_FILES].items()}
        key = merged_key(record["base_hash"], record["adapter_hash"])
        fits = key == folder.name and combined(files) == record["result_hash"]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return files if fits else None


def remember(folder: Path, record: Mapping[str, Any], found: Examined) -> None:
    """Record the stamps of files whose content was found to be right."""
    files = {name: {**file, "stamp": found.stamps[name]} for name, file in record[_FILES].items()}
    fresh = folder / f".{RECORD}.new"
    fresh.write_text(json.dumps({**record, _FILES: files}, indent=2) + "\n")
    os.replace(fresh, folder / RECORD)


def _stamps(record: Mapping[str, Any]) -> Stamps:
    return {name: file.get("stamp", []) for name, file in record[_FILES].items()}
