"""What did an upload that was cut off reach? Remembered between runs, in a file that only its owner can read.

The addresses of resumable sessions in it are as good as keys to what they write. Without the file an upload works just
as well, and starts over.
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
"""Seconds that storage keeps a resumable session."""


@dataclass(frozen=True)
class Entry:
    """Of one file as it was (`stamp`): the address of its session, or what it hashed to once all of it was there."""

    name: str
    stamp: list[int]
    session: str | None = None
    algorithm: str | None = None
    digest: str | None = None


class Journal:
    """One for a model on a server. Lines are added and never changed: a kill at any time leaves what was said.

    Each line begins with its own hash. One that is damaged, or of another version, says nothing.
    """

    def __init__(self, base_url: str, model: str) -> None:
        key = hashlib.sha256(f"{base_url}\n{model}".encode()).hexdigest()[:32]
        self._path = config.home() / "uploads" / f"{key}.jsonl"
        self._entries = _read(self._path)

    def of(self, file: LocalFile) -> Entry | None:
        """What is remembered of a file, whatever it has become since."""
        return self._entries.get(file.name)

    def add(self, entry: Entry) -> None:
        said = json.dumps(asdict(entry)).encode()
        self._entries[entry.name] = entry
        # A disk that is full or a home that cannot be written to must not stop an upload.
        with contextlib.suppress(OSError, InputError):
            config.private_folder(self._path.parent)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(self._path, flags, 0o600), "ab", buffering=0) as file:
                file.write(_check(said) + b" " + said + b"\n")

    def forget(self) -> None:
        """The upload is over, or what is remembered is not so."""
        self._entries = {}
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    with contextlib.suppress(OSError):
        for old in path.parent.glob("*.jsonl"):
            if time.time() - old.stat().st_mtime > FORGET_AFTER:
                old.unlink(missing_ok=True)
        for line in path.read_bytes().splitlines():
            check, _, said = line.partition(b" ")
            if check == _check(said):
                with contextlib.suppress(ValueError, TypeError):
                    entry = Entry(**json.loads(said))
                    entries[entry.name] = entry
    return entries


def _check(said: bytes) -> bytes:
    return hashlib.sha256(said).hexdigest()[:16].encode()
