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
from tests.client.storage import Storage
from tests.client.transfer.interrupted import BIG, cut_upload

Connect = Callable[..., Client]

pytestmark = pytest.mark.usefixtures("says_hashes")


@pytest.fixture
def session_files(tmp_path: Path) -> Callable[[], list[Path]]:
    return lambda: list((tmp_path / "fireworks-home" / "uploads").glob("*"))


def test_another_run_sends_only_what_is_missing(
    client: Client, storage: Storage, folder: Path, connect: Connect, session_files: Callable[[], list[Path]]
) -> None:
    cut_upload(storage, client, folder, 2 * PART)
    (session_file,) = session_files()
    assert stat.S_IMODE(session_file.stat().st_mode) == 0o600
    assert "upload_id" in session_file.read_text()
    seen: list[TransferProgress] = []
    connect(storage.url).models.upload("m", folder, on_progress=seen.append)
    assert storage.parts == [f"bytes {2 * PART}-{3 * PART - 1}/{BIG}", f"bytes {3 * PART}-{BIG - 1}/{BIG}"]
    assert storage.files["big"] == (folder / "big").read_bytes()
    assert (seen[-1].total_done, seen[-1].moved) == (BIG, BIG - 2 * PART)
    assert session_files() == []


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
    session_files: Callable[[], list[Path]],
    damage: Callable[[bytes], bytes],
) -> None:
    cut_upload(storage, client, folder, 2 * PART)
    (session_file,) = session_files()
    session_file.write_bytes(damage(session_file.read_bytes()))
    connect(storage.url).models.upload("m", folder)
    assert storage.parts[0] == f"bytes 0-{PART - 1}/{BIG}"
    assert storage.files["big"] == (folder / "big").read_bytes()


def test_what_an_earlier_release_remembers_of_an_upload_goes_on(
    client: Client, storage: Storage, folder: Path, connect: Connect, session_files: Callable[[], list[Path]]
) -> None:
    cut_upload(storage, client, folder, 2 * PART)
    (session_file,) = session_files()
    found = (folder / "big").stat()
    stamp = [found.st_ino, found.st_size, found.st_mtime_ns]
    session = f"{storage.url}/store/big?k=resumable&upload_id=1"
    said = json.dumps({"name": "big", "stamp": stamp, "session": session, "algorithm": None, "digest": None}).encode()
    session_file.write_bytes(hashlib.sha256(said).hexdigest()[:16].encode() + b" " + said + b"\n")
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
