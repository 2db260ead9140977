"""Transfers that break off, and files that change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.upload import PART
from firectl.errors import ApiError
from tests.client.script_server import Received, Reply, answer
from tests.client.storage import Storage

UNIT = 1024 * 1024
BIG = 3 * PART + 1234
CUT = answer(418, b"")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cut_upload(storage: Storage, client: Client, folder: Path, offset: int) -> None:
    """An upload whose part at `offset` is refused, and the requests of it forgotten."""
    storage.fault = lambda request: CUT if f"bytes {offset}-" in request.headers.get("content-range", "") else None
    with pytest.raises(ApiError):
        client.models.upload("m", folder)
    storage.fault = lambda _: None
    storage.requests.clear()


def cut_download(storage: Storage, client: Client, folder: Path, offset: int) -> list[Received]:
    """A download whose file breaks off there and is then refused; the requests for what was missing."""
    asked: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if request.headers.get("range") == "bytes=0-0" or "/store/" not in request.path:
            return None
        asked.append(request)
        raw = storage.reply(request).raw
        head = raw.index(b"\r\n\r\n") + 4
        return Reply(raw[: head + offset], end="close") if len(asked) == 1 else answer(418, b"")

    storage.fault = fault
    with pytest.raises(ApiError):
        client.models.download("m", folder)
    storage.fault = lambda _: None
    storage.requests.clear()
    return asked


def flip(path: Path, at: int) -> None:
    """Another byte, and nothing else that shows it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
