"""Is the safetensors copy beside an adapter's `.bin` right? Merges and engines read the copy, not the `.bin`.

No row stores the copy's hash. To check the copy, the verified `.bin` is converted again: if the bytes differ, the new
bytes replace the copy. Must not use rows.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from firectl.config import sync_folder
from firectl.errors import AdapterError, Code
from firectl.lora.read.adapter import BIN, SAFETENSORS
from firectl.lora.read.bin_file import NotInspected, SafetensorsCopy
from firectl.lora.read.hashing import file_hash, stamp
from firectl.server.disk.integrity import Examined, Stamps

log = logging.getLogger(__name__)

COPY = f"./{SAFETENSORS}"
"""The copy's key among a model's stamps. No uploaded file has this key, because their names have no part `.`."""


_ARRIVING = f".{SAFETENSORS}"


def has_copy(files: Collection[str]) -> bool:
    """Whether an adapter with these uploaded files is served from a copy."""
    return BIN in files and SAFETENSORS not in files


def examine_copy(folder: Path, found: Examined, known: Stamps | None) -> Examined:
    """Check the copy in a folder whose `.bin` is right. Return `found` with the copy's stamp, or with damage.

    Replaces a copy that is wrong or missing. NotInspected if it cannot be compared or written now. Starts a process
    with torch, which takes some seconds. Without torch, a copy whose stamp is still the `known` one counts as right.
    """
    copy = folder / SAFETENSORS
    before = stamp(copy)
    try:
        made = SafetensorsCopy(folder / BIN)
    except NotInspected as error:
        without_torch = error.code is Code.FAILED_PRECONDITION
        if without_torch and before and known and known.get(COPY) == before:
            return replace(found, stamps={**found.stamps, COPY: before})
        raise
    except AdapterError as error:
        return replace(found, damage=f"the copy {SAFETENSORS} of {BIN} cannot be verified: {error.message}")
    if not _is_same(copy, made.path):
        log.warning("%s differs from %s and is replaced", copy, BIN)
        write_copy(made.path, folder)
        before = enter_copy(folder)
    return replace(found, stamps={**found.stamps, COPY: before})


def write_copy(made: Path, folder: Path) -> None:
    """Copy `made` into the adapter's folder under a hidden name, and sync it. NotInspected if that fails."""
    arriving = folder / _ARRIVING
    try:
        with made.open("rb") as source, arriving.open("wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        arriving.unlink(missing_ok=True)
        raise NotInspected.of(BIN, error) from error


def enter_copy(folder: Path) -> list[int]:
    """Rename the file that `write_copy` wrote to the copy's name. Return the stamp of the copy."""
    copy = folder / SAFETENSORS
    os.replace(folder / _ARRIVING, copy)
    sync_folder(folder)
    return stamp(copy)


def _is_same(copy: Path, made: Path) -> bool:
    try:
        return copy.stat().st_size == made.stat().st_size and file_hash(copy) == file_hash(made)
    except OSError:
        return False
