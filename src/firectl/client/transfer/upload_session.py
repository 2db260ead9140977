"""What had an interrupted upload reached? Kept between runs in a file that only its owner can read.

The file contains URLs of resumable sessions, which are secrets. Without the file an upload starts over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from firectl import config
from firectl.client.transfer.files import LocalFile
from firectl.errors import InputError

FORGET_AFTER = 7 * 24 * 3600.0
"""How many seconds a storage server keeps a resumable session."""


@dataclass(frozen=True)
class FileRecord:
    """The record of a file in the state `stamp`: the URL of its resumable session, or its digest once uploaded."""

    name: str
    stamp: list[int]
    session: str | None = None
    algorithm: str | None = None
    digest: str | None = None


class UploadSession:
    """The records of the upload of one model to one server.

    Lines are only appended, so none is lost if the process is killed. Each begins with its hash; damaged lines are
    ignored.
    """

    def __init__(self, base_url: str, model: str) -> None:
        key = hashlib.sha256(f"{base_url}\n{model}".encode()).hexdigest()[:32]
        self._path = config.home() / "uploads" / f"{key}.jsonl"
        self._records = _read(self._path)

    def of(self, file: LocalFile) -> FileRecord | None:
        """Return the record of a file, or None. The file may have changed since it was recorded."""
        return self._records.get(file.name)

    def add(self, record: FileRecord) -> None:
        line = json.dumps(asdict(record)).encode()
        self._records[record.name] = record
        # A full disk or a read-only home must not stop an upload.
        with contextlib.suppress(OSError, InputError):
            config.private_folder(self._path.parent)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(self._path, flags, 0o600), "ab", buffering=0) as file:
                file.write(_hash(line) + b" " + line + b"\n")

    def forget(self) -> None:
        """Delete the records, when the upload has ended or the records are wrong."""
        self._records = {}
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, FileRecord]:
    records: dict[str, FileRecord] = {}
    with contextlib.suppress(OSError):
        for old in path.parent.glob("*.jsonl"):
            if time.time() - old.stat().st_mtime > FORGET_AFTER:
                old.unlink(missing_ok=True)
        for text in path.read_bytes().splitlines():
            check, _, line = text.partition(b" ")
            if check == _hash(line):
                with contextlib.suppress(ValueError, TypeError):
                    record = FileRecord(**json.loads(line))
                    records[record.name] = record
    return records


def _hash(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest()[:16].encode()
