"""The part of a file that has arrived: locked, of one version, beside its path (`client/transfer/part_file.py`)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.meter import TransferProgress
from firectl.client.transfer.part_file import PartFile, RemoteFile, has_content
from firectl.errors import ApiError, Code, Exit
from tests.client.storage import Storage
from tests.client.transfer.interrupted import UNIT, cut_download

pytestmark = pytest.mark.usefixtures("says_hashes")


def test_a_file_that_another_download_writes_is_left_to_it(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    other = PartFile(tmp_path / "w", RemoteFile(size=3 * UNIT, etag='"other"'))
    other.append(b"o" * UNIT)
    with pytest.raises(ApiError) as caught:
        client.models.download("m", tmp_path)
    assert (caught.value.code, caught.value.exit_code) == (Code.FAILED_PRECONDITION, Exit.CONFLICT)
    assert caught.value.message == f"another download is writing {tmp_path / 'w'}"
    other.append(b"o" * UNIT)
    other.close()
    client.models.download("m", tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.glob("*w")] == [("w", storage.files["w"])]


def test_another_version_of_a_file_begins_at_its_first_byte(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    cut_download(storage, client, tmp_path, 2 * UNIT)
    storage.files = {"w": os.urandom(3 * UNIT)}
    seen: list[TransferProgress] = []
    client.models.download("m", tmp_path, on_progress=seen.append)
    assert seen[-1].moved == 3 * UNIT
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir() if path.is_file()] == [
        ("w", storage.files["w"])
    ]


def test_what_an_earlier_release_left_of_a_download_is_begun_anew(
    client: Client, storage: Storage, tmp_path: Path
) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    stem = "." + hashlib.sha256(b"w").hexdigest()[:16]
    # Ranges came in any order: two of three, the first is a hole.
    (tmp_path / f"{stem}.part").write_bytes(bytes(UNIT) + storage.files["w"][UNIT:])
    (tmp_path / f"{stem}.marks").write_bytes(b"{}".ljust(512) + b"\0\1\1")
    client.models.download("m", tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir() if path.is_file()] == [
        ("w", storage.files["w"])
    ]


def test_what_lies_where_a_part_goes_is_not_followed(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.files["w"] = b"x" * 100
    (tmp_path / "victim").write_bytes(b"keep")
    back = tmp_path / "back"
    back.mkdir()
    stem = "." + hashlib.sha256(b"w").hexdigest()[:16]
    digest = hashlib.md5(storage.files["w"], usedforsecurity=False).hexdigest()
    version = json.dumps([100, f'"{base64.b64encode(bytes.fromhex(digest)).decode()}"', ["md5", digest]])
    (back / f"{stem}.{hashlib.sha256(version.encode()).hexdigest()[:8]}.part").symlink_to(tmp_path / "victim")
    (back / f"{stem}.part").symlink_to(tmp_path / "victim")
    os.mkfifo(back / f"{stem}.marks")
    (back / "w").symlink_to(tmp_path / "victim")
    client.models.download("m", back)
    assert (tmp_path / "victim").read_bytes() == b"keep"
    assert (back / "w").read_bytes() == storage.files["w"]
    assert not (back / "w").is_symlink()


def test_a_whole_part_takes_its_place_and_a_wrong_one_is_deleted(tmp_path: Path) -> None:
    content = os.urandom(1000)
    remote = RemoteFile(size=1000, digests={"sha256": hashlib.sha256(content).hexdigest()})
    for sent, right in ((content, True), (content[::-1], False)):
        path = tmp_path / f"{right}"
        part = PartFile(path, remote)
        part.append(sent[:400])
        part.close()
        part = PartFile(path, remote)
        assert part.size == 400
        part.append(sent[400:])
        assert part.enter(lambda: None) is right
        part.close()
        assert path.exists() is right
        assert has_content(path, remote, lambda: None) is right
    assert [path.name for path in tmp_path.iterdir()] == ["True"]
