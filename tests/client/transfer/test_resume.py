"""Uploads that are resumed, and bytes that arrive changed (`client/transfer/upload.py`)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.upload import PART
from firectl.errors import ApiError, Code
from tests.client.script_server import Received, Reply, answer
from tests.client.storage import Storage
from tests.client.transfer.interrupted import BIG, CUT, cut_upload, flip

Connect = Callable[..., Client]

pytestmark = pytest.mark.usefixtures("says_hashes")


def test_a_file_that_arrived_in_an_earlier_run_is_not_sent_again(
    client: Client, storage: Storage, folder: Path
) -> None:
    (folder / "other").write_bytes(b"o" * PART)
    storage.fault = lambda request: CUT if request.path.endswith(":validateUpload") else None
    with pytest.raises(ApiError):
        client.models.upload("m", folder)
    storage.fault = lambda _: None
    storage.requests.clear()
    client.models.upload("m", folder)
    assert storage.parts == []
    assert storage.validated == 1


def test_what_the_server_lost_meanwhile_is_sent_again(client: Client, storage: Storage, folder: Path) -> None:
    storage.fault = lambda request: CUT if request.path.endswith(":validateUpload") else None
    with pytest.raises(ApiError):
        client.models.upload("m", folder)
    storage.fault = lambda _: None
    storage.files.clear()
    client.models.upload("m", folder)
    assert storage.files["big"] == (folder / "big").read_bytes()


@pytest.mark.parametrize("status", [404, 410, 403])
def test_a_session_that_is_gone_is_begun_anew(
    client: Client, storage: Storage, folder: Path, connect: Connect, status: int
) -> None:
    cut_upload(storage, client, folder, PART)
    gone: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if "*/" in request.headers.get("content-range", "") and not gone:
            gone.append(request)
            return answer(status, b"")
        return None

    storage.fault = fault
    connect(storage.url).models.upload("m", folder)
    assert storage.files["big"] == (folder / "big").read_bytes()
    assert storage.parts[0] == f"bytes 0-{PART - 1}/{BIG}"


def test_a_session_that_goes_while_it_is_used_is_begun_anew(client: Client, storage: Storage, folder: Path) -> None:
    gone: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if f"bytes {PART}-" in request.headers.get("content-range", "") and not gone:
            gone.append(request)
            return answer(410, b"")
        return None

    storage.fault = fault
    client.models.upload("m", folder)
    assert storage.files["big"] == (folder / "big").read_bytes()


def test_a_byte_flipped_on_disk_between_two_runs_is_found(
    client: Client, storage: Storage, folder: Path, connect: Connect
) -> None:
    cut_upload(storage, client, folder, 2 * PART)
    flip(folder / "big", 100)
    connect(storage.url).models.upload("m", folder)
    assert storage.files["big"] == (folder / "big").read_bytes()


def test_a_byte_flipped_on_the_way_is_found_and_sent_again(client: Client, storage: Storage, folder: Path) -> None:
    flipped: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if f"bytes {2 * PART}-" in request.headers.get("content-range", "") and not flipped:
            flipped.append(request)
            storage.sessions["big"][5] ^= 1
        return None

    storage.fault = fault
    client.models.upload("m", folder)
    assert storage.files["big"] == (folder / "big").read_bytes()


@pytest.mark.parametrize("resumable", [False, True])
def test_bytes_that_never_arrive_as_they_were_sent_end_the_upload(
    client: Client, storage: Storage, tmp_path: Path, resumable: bool
) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "w").write_bytes(b"w" * 1000)
    wrong = {"Repr-Digest": "", "x-goog-hash": f"md5={base64.b64encode(b'0' * 16).decode()}"}
    storage.fault = lambda request: answer(200, b"", wrong) if request.method == "PUT" else None
    with pytest.raises(ApiError) as caught:
        client.models.upload("m", tmp_path / "small", resumable=resumable)
    assert caught.value.code is Code.DATA_LOSS
    assert caught.value.message == "w was uploaded 3 times, and the server's hash differed from the file's each time"
    assert storage.validated == 0


def test_a_session_that_is_always_lost_is_not_called_a_change_of_bytes(
    client: Client, storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "w").write_bytes(b"w" * 1000)
    storage.fault = lambda request: answer(410, b"") if request.method == "PUT" else None
    with pytest.raises(ApiError) as caught:
        client.models.upload("m", tmp_path / "small", resumable=True)
    assert caught.value.code is Code.ABORTED
    assert caught.value.message == "the server dropped the upload of w 3 times before it was complete"
