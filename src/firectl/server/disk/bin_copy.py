"""Is the safetensors copy beside an adapter's `.bin` right? Merges and engines read the copy, not the `.bin`.

No row has the copy's hash. It is derived data: it is right if it has the bytes that the verified `.bin` gives again,
and a wrong one is replaced by them. Must not use rows.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from firectl.errors import InputError
from firectl.lora.read.adapter import BIN, SAFETENSORS
from firectl.lora.read.bin_file import NotInspected, SafetensorsCopy
from firectl.lora.read.hashing import file_hash, stamp
from firectl.server.disk.integrity import Examined, Stamps

log = logging.getLogger(__name__)

COPY = f"./{SAFETENSORS}"
"""The copy's key among a model's stamps. No uploaded file has this key, because their names have no part `.`."""


def has_copy(files: Collection[str]) -> bool:
    """Whether an adapter with these uploaded files is served from a copy."""
    return BIN in files and SAFETENSORS not in files


def examine_copy(folder: Path, found: Examined, known: Stamps | None) -> Examined:
    """`found`, of a folder whose `.bin` is right, with the copy's stamp, or with the copy as damage.

    Replaces a copy that is wrong or missing. Starts a process with torch, which takes some seconds; without torch a
    copy with its `known` stamp counts as right, because nothing wrote to it.
    """
    copy = folder / SAFETENSORS
    before = stamp(copy)
    try:
        made = SafetensorsCopy(folder / BIN)
    except InputError as error:
        if isinstance(error, NotInspected) and before and known and known.get(COPY) == before:
            return replace(found, stamps={**found.stamps, COPY: before})
        return replace(found, damage=f"the copy {SAFETENSORS} of {BIN} cannot be verified: {error.message}")
    if not _is_same(copy, made.path):
        log.warning("%s differs from %s and is replaced", copy, BIN)
        # The temporary folder may be on another disk, and a copy must never be there in part.
        arriving = folder / f".{SAFETENSORS}"
        shutil.move(made.path, arriving)
        before = stamp(arriving.replace(copy))
    return replace(found, stamps={**found.stamps, COPY: before})


def _is_same(copy: Path, made: Path) -> bool:
    try:
        return copy.stat().st_size == made.stat().st_size and file_hash(copy) == file_hash(made)
    except OSError:
        return False
