"""What is remembered of an interrupted upload (`client/transfer/upload_session.py`)."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.files import scan
from firectl.client.transfer.meter import TransferProgress
from firectl.client.transfer.upload import PART
from firectl.client.transfer.upload_session import FORGET_AFTER, FileRecord, UploadSession
from firectl.errors import ApiError
from tests.client.script_server import answer
from tests.client.storage import Storage

Connect = Callable[..., Client]
BIG = 3 * PART + 1234
CUT = answer(418, b"")


@pytest.fixture
def storage(storage: Storage) -> Storage:
    """Storage that says what arrived, as Google's does, and gives ranges."""
    storage.says_hashes = True
    return storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "big").write_bytes(os.urandom(BIG))
    return made


@pytest.fixture
def journals(tmp_path: Path) -> Callable[[], list[Path]]:
    return lambda: list((tmp_path / "fireworks-home" / "uploads").glob("*"))


def cut_off_at(storage: Storage, client: Client, folder: Path, offset: int) -> None:
    """An upload whose part at `offset` is refused, and the requests of it forgotten."""
    storage.fault = lambda request: CUT if f"bytes {offset}-" in request.headers.get("content-range", "") else None
    with pytest.raises(ApiError):
        client.models.upload("m", folder)
    storage.fault = lambda _: None
    storage.requests.clear()


def test_another_run_sends_only_what_is_missing(
    client: Client, storage: Storage, folder: Path, connect: Connect, journals: Callable[[], list[Path]]
) -> None:
    cut_off_at(storage, client, folder, 2 * PART)
    (journal,) = journals()
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert "upload_id" in journal.read_text()
    seen: list[TransferProgress] = []
    connect(storage.url).models.upload("m", folder, on_progress=seen.append)
    assert storage.parts == [f"bytes {2 * PART}-{3 * PART - 1}/{BIG}", f"bytes {3 * PART}-{BIG - 1}/{BIG}"]
    assert storage.files["big"] == (folder / "big").read_bytes()
    assert (seen[-1].total_done, seen[-1].moved) == (BIG, BIG - 2 * PART)
    assert journals() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda said: said.replace(b'"stamp": [', b'"stamp": [1, '),
        lambda said: said.replace(b"http://127", b"http://327"),
        lambda said: b'{"name": "big", "stamp": 5, "session": 7}\n',
        lambda said: b'{"name": ["big"]}\nnull\n[]\n' + b"[" * 100_000,
        lambda said: said[:-20],
        lambda said: os.urandom(1000),
        lambda said: b"",
    ],
)
def test_a_damaged_memory_of_an_upload_is_a_fresh_start(
    client: Client,
    storage: Storage,
    folder: Path,
    connect: Connect,
    journals: Callable[[], list[Path]],
    damage: Callable[[bytes], bytes],
) -> None:
    cut_off_at(storage, client, folder, 2 * PART)
    (journal,) = journals()
    journal.write_bytes(damage(journal.read_bytes()))
    connect(storage.url).models.upload("m", folder)
    assert storage.parts[0] == f"bytes 0-{PART - 1}/{BIG}"
    assert storage.files["big"] == (folder / "big").read_bytes()


def test_what_an_earlier_release_remembers_of_an_upload_goes_on(
    client: Client, storage: Storage, folder: Path, connect: Connect, journals: Callable[[], list[Path]]
) -> None:
    cut_off_at(storage, client, folder, 2 * PART)
    (journal,) = journals()
    found = (folder / "big").stat()
    stamp = [found.st_ino, found.st_size, found.st_mtime_ns]
    session = f"{storage.url}/store/big?k=resumable&upload_id=1"
    said = json.dumps({"name": "big", "stamp": stamp, "session": session, "algorithm": None, "digest": None}).encode()
    journal.write_bytes(hashlib.sha256(said).hexdigest()[:16].encode() + b" " + said + b"\n")
    connect(storage.url).models.upload("m", folder)
    assert storage.parts[0] == f"bytes {2 * PART}-{3 * PART - 1}/{BIG}"
    assert storage.files["big"] == (folder / "big").read_bytes()


def test_a_record_outlives_its_run_for_a_week(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    (file,) = scan(tmp_path)
    record = FileRecord("w", list(file.stamp), session="https://storage.test/x")
    UploadSession("https://api.test", "m").add(record)
    assert UploadSession("https://api.test", "m").of(file) == record
    assert UploadSession("https://api.test", "other").of(file) is None
    (kept,) = (tmp_path / "fireworks-home" / "uploads").iterdir()
    os.utime(kept, (time.time() - FORGET_AFTER - 60,) * 2)
    assert UploadSession("https://api.test", "m").of(file) is None
    assert not kept.exists()


def test_a_home_that_cannot_be_written_stops_no_upload(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    (file,) = scan(tmp_path)
    (tmp_path / "fireworks-home").write_bytes(b"a file")
    session = UploadSession("https://api.test", "m")
    session.add(FileRecord("w", list(file.stamp), digest="d"))
    assert session.of(file) == FileRecord("w", list(file.stamp), digest="d")
    session.forget()
    assert session.of(file) is None
