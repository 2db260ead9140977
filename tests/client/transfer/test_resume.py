"""Transfers that were cut off and go on; bytes that are not what they were; storage as the hosted service has it."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.meter import TransferProgress
from firectl.client.transfer.upload import PART
from firectl.errors import ApiError, Code, InputError
from tests.client.script_server import HANG, Received, Reply, ScriptServer, answer
from tests.client.storage import Storage

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]

UNIT = 1024 * 1024
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


def flip(path: Path, at: int) -> None:
    """Another byte, and nothing else that shows it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


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


@pytest.mark.parametrize("status", [404, 410, 403])
def test_a_session_that_is_gone_is_begun_anew(
    client: Client, storage: Storage, folder: Path, connect: Connect, status: int
) -> None:
    cut_off_at(storage, client, folder, PART)
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
    cut_off_at(storage, client, folder, 2 * PART)
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
    assert caught.value.message == "w arrived changed 3 times: the server's hash is not that of the file"
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


@pytest.mark.parametrize("resumable", [False, True])
def test_an_address_that_ran_out_is_asked_for_again(
    client: Client, storage: Storage, folder: Path, resumable: bool
) -> None:
    def asked() -> int:
        return sum(request.path.endswith("Endpoint") for request in storage.requests)

    def fault(request: Received) -> Reply | None:
        old = request.path.startswith("/store/") and "upload_id" not in request.path and asked() < 2
        return answer(400, b"<Code>ExpiredToken</Code>") if old else None

    storage.fault = fault
    client.models.upload("m", folder, resumable=resumable)
    assert (storage.files["big"], asked()) == ((folder / "big").read_bytes(), 2)
    storage.requests.clear()
    client.models.download("m", folder.parent / "back")
    assert (folder.parent / "back" / "big").read_bytes() == storage.files["big"]


def test_one_that_fails_ends_the_others_at_once_and_leaves_no_socket(
    storage: Storage, folder: Path, connect: Connect
) -> None:
    for number in range(6):
        (folder / f"f{number}").write_bytes(b"x" * 3_000_000)
    waiting: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if request.method != "PUT":
            return None
        if len(waiting) == 2:
            return answer(418, b"")
        waiting.append(request)
        return HANG

    storage.fault = fault
    client = connect(storage.url)
    started = time.monotonic()
    with pytest.raises(ApiError, match="418"):
        client.models.upload("m", folder, resumable=False)
    assert time.monotonic() - started < 5
    client.close()
    gc.collect()


def test_a_download_goes_on_in_another_run(client: Client, storage: Storage, tmp_path: Path, connect: Connect) -> None:
    storage.files["w"] = os.urandom(5 * UNIT + 77)
    cut = 3 * UNIT + 5000

    def fault(request: Received) -> Reply | None:
        if request.headers.get("range") == "bytes=0-0" or not request.path.startswith("/store/"):
            return None
        return Reply(storage.reply(request).raw[:cut], end="close") if len(storage.requests) < 4 else CUT

    storage.fault = fault
    with pytest.raises(ApiError):
        client.models.download("m", tmp_path / "back")
    assert not (tmp_path / "back" / "w").exists()
    storage.fault = lambda _: None
    storage.requests.clear()
    seen: list[TransferProgress] = []
    connect(storage.url).models.download("m", tmp_path / "back", on_progress=seen.append)
    assert (tmp_path / "back" / "w").read_bytes() == storage.files["w"]
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["w"]
    assert seen[-1].moved <= len(storage.files["w"]) - 2 * UNIT
    seen.clear()
    connect(storage.url).models.download("m", tmp_path / "back", on_progress=seen.append)
    assert seen[-1].moved == 0


def test_a_byte_flipped_in_what_came_before_is_found(
    client: Client, storage: Storage, tmp_path: Path, connect: Connect
) -> None:
    storage.files["w"] = os.urandom(5 * UNIT)
    storage.fault = lambda request: (
        Reply(storage.reply(request).raw[: 3 * UNIT], end="close")
        if request.path.startswith("/store/") and request.headers.get("range") in (None, f"bytes=0-{5 * UNIT - 1}")
        else CUT
        if "range" in request.headers and request.headers["range"] != "bytes=0-0"
        else None
    )
    with pytest.raises(ApiError):
        client.models.download("m", tmp_path / "back")
    (part,) = (tmp_path / "back").glob(".*.part")
    flip(part, 10)
    storage.fault = lambda _: None
    connect(storage.url).models.download("m", tmp_path / "back")
    assert (tmp_path / "back" / "w").read_bytes() == storage.files["w"]


def test_a_file_that_is_damaged_on_the_server_is_not_put_in_place(
    client: Client, storage: Storage, tmp_path: Path
) -> None:
    storage.files["w"] = os.urandom(UNIT)
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "w").write_bytes(b"mine")

    def fault(request: Received) -> Reply | None:
        if request.headers.get("range") is None and request.path.startswith("/store/"):
            raw = storage.reply(request).raw
            return Reply(raw[:-1] + bytes([raw[-1] ^ 1]))
        return None

    storage.fault = fault
    with pytest.raises(ApiError) as caught:
        client.models.download("m", tmp_path / "back")
    assert caught.value.code is Code.DATA_LOSS
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "back").iterdir()] == [("w", b"mine")]


def test_an_empty_file_and_names_as_long_as_they_may_be_come_back(
    client: Client, storage: Storage, tmp_path: Path
) -> None:
    storage.files = {"empty": b"", "n" * 255: b"x"}
    client.models.download("m", tmp_path / "back")
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == storage.files


@pytest.mark.parametrize(
    ("names", "said"),
    [(["A", "a"], "take for one"), (["n" * 300], "cannot be written"), (["a\x00b"], "cannot be written")],
)
def test_names_that_no_file_can_have_are_refused(
    client: Client, storage: Storage, tmp_path: Path, names: list[str], said: str
) -> None:
    storage.files = dict.fromkeys(names, b"x")
    with pytest.raises(InputError, match=said):
        client.models.download("m", tmp_path / "back")
    assert not list((tmp_path / "back").glob("[!.]*")) if (tmp_path / "back").exists() else True


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
