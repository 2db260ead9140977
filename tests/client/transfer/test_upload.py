"""Uploads to a storage with signed URLs, with faults on the way (`client/transfer/upload.py`)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.meter import TransferProgress
from firectl.client.transfer.upload import PART
from firectl.errors import ApiError, Code, Exit, InputError, NetworkError
from tests.client.script_server import RESET, Received, Reply, answer
from tests.client.storage import Storage
from tests.client.transfer.interrupted import contents

BIG = 2 * PART + 1234


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "sub").mkdir(parents=True)
    for name, size in {"config.json": 300, "empty": 0, "sub/ä b.bin": 2_500_000, "w": 5000}.items():
        (made / name).write_bytes(os.urandom(size))
    return made


def test_small_files_are_put_whole_and_validated(client: Client, storage: Storage, folder: Path) -> None:
    client.models.upload("m", folder)
    assert storage.files == contents(folder)
    assert storage.validated == 1
    stored = [request for request in storage.requests if request.path.startswith("/store/")]
    assert [request.method for request in stored] == ["PUT"] * 4
    assert all("authorization" not in request.headers for request in stored)
    assert all("transfer-encoding" not in request.headers for request in stored)


def test_a_header_that_was_not_signed_is_not_sent(client: Client, storage: Storage, folder: Path) -> None:
    storage.signed = "content-type;host"
    client.models.upload("m", folder)
    assert storage.files == contents(folder)


def test_a_file_above_eight_mebibytes_goes_in_parts(client: Client, storage: Storage, folder: Path) -> None:
    (folder / "big").write_bytes(os.urandom(BIG))
    client.models.upload("m", folder)
    assert storage.files == contents(folder)
    ranges = [r.headers["content-range"] for r in storage.requests if r.path.startswith("/store/big?k=resumable")]
    assert ranges == [
        f"bytes 0-{PART - 1}/{BIG}",
        f"bytes {PART}-{2 * PART - 1}/{BIG}",
        f"bytes {2 * PART}-{BIG - 1}/{BIG}",
    ]


def test_parts_can_be_turned_off_and_on(client: Client, storage: Storage, folder: Path) -> None:
    client.models.upload("m", folder, resumable=True)
    assert storage.files == contents(folder)
    assert len(storage.sessions) == 4
    storage.sessions.clear()
    (folder / "big").write_bytes(os.urandom(BIG))
    client.models.upload("m", folder, resumable=False)
    assert (storage.files, storage.sessions) == (contents(folder), {})


def test_a_session_at_a_relative_address_is_found(client: Client, storage: Storage, folder: Path) -> None:
    storage.location = ""
    client.models.upload("m", folder, resumable=True)
    assert storage.files == contents(folder)


def test_a_part_that_breaks_off_goes_on_from_what_arrived(client: Client, storage: Storage, folder: Path) -> None:
    (folder / "big").write_bytes(os.urandom(BIG))
    arrived = PART + 512 * 1024
    broken: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if f"bytes {PART}-" in request.headers.get("content-range", "") and not broken:
            broken.append(request)
            storage.sessions["big"].extend(request.body[: arrived - PART])
            return RESET
        return None

    storage.fault = fault
    client.models.upload("m", folder)
    assert storage.files == contents(folder)
    ranges = [r.headers["content-range"] for r in storage.requests if "big?k=resumable" in r.path]
    assert ranges[2] == f"bytes */{BIG}"
    assert ranges[3] == f"bytes {arrived}-{BIG - 1}/{BIG}"


@pytest.mark.parametrize("fault", [RESET, answer(503, b""), answer(500, b"")])
def test_what_passes_is_tried_again(client: Client, storage: Storage, folder: Path, fault: Reply) -> None:
    hit: set[str] = set()

    def once(request: Received) -> Reply | None:
        path = request.path.partition("?")[0]
        if path in hit or not path.startswith("/store/"):
            return None
        hit.add(path)
        return fault

    storage.fault = once
    client.models.upload("m", folder)
    assert storage.files == contents(folder)


def test_what_does_not_pass_ends_the_upload_and_is_not_validated(
    client: Client, storage: Storage, folder: Path
) -> None:
    storage.signed = "host"
    storage.fault = lambda request: answer(403, b"<?xml version='1.0'?>no") if "/store/" in request.path else None
    with pytest.raises(ApiError) as caught:
        client.models.upload("m", folder)
    assert (caught.value.code, caught.value.exit_code) == (Code.PERMISSION_DENIED, Exit.DENIED)
    assert "with HTTP 403 and XML instead of an API error" in caught.value.message
    assert caught.value.hint == "the address is new, so it has not expired; check the clock of this machine"
    assert "s3cr3t" not in caught.value.message
    assert storage.validated == 0


def test_a_server_that_takes_nothing_does_not_hold_us_for_ever(client: Client, storage: Storage, folder: Path) -> None:
    (folder / "big").write_bytes(os.urandom(BIG))
    storage.fault = lambda request: answer(308, b"") if "content-range" in request.headers else None
    with pytest.raises(NetworkError) as caught:
        client.models.upload("m", folder)
    assert "does not take" in caught.value.message
    assert caught.value.exit_code is Exit.FAILED


def test_a_308_to_a_whole_put_is_no_success(client: Client, storage: Storage, folder: Path) -> None:
    storage.fault = lambda request: answer(308, b"") if request.method == "PUT" else None
    with pytest.raises(NetworkError, match="a redirect"):
        client.models.upload("m", folder)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as other:
        other.write(b"changed")


def _cut(path: Path) -> None:
    os.truncate(path, PART + 1)


def _grow(path: Path) -> None:
    with path.open("ab") as other:
        other.write(b"more")


def _replace(path: Path) -> None:
    (path.parent / ".new").write_bytes(os.urandom(BIG))
    os.utime(path.parent / ".new", ns=(1, 1))
    os.replace(path.parent / ".new", path)


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("change", [_overwrite, _cut, _grow, _replace])
def test_a_file_that_changes_on_the_way_is_refused(
    client: Client, storage: Storage, folder: Path, change: Callable[[Path], None], resumable: bool
) -> None:
    big = folder / "big"
    big.write_bytes(os.urandom(BIG))
    os.utime(big, ns=(1, 1))
    changed: list[TransferProgress] = []

    def on_progress(progress: TransferProgress) -> None:
        if progress.file == "big" and progress.done >= PART and not changed:
            changed.append(progress)
            change(big)

    with pytest.raises(InputError, match="big changed during the upload") as caught:
        client.models.upload("m", folder, resumable=resumable, on_progress=on_progress)
    assert caught.value.exit_code is Exit.USAGE
    assert "big" not in storage.files
    assert storage.validated == 0


def test_progress_ends_at_the_size_of_every_file(client: Client, storage: Storage, folder: Path) -> None:
    (folder / "big").write_bytes(os.urandom(BIG))
    seen: list[TransferProgress] = []
    client.models.upload("m", folder, on_progress=seen.append)
    total = sum(map(len, contents(folder).values()))
    assert {progress.total_size for progress in seen} == {total}
    assert seen[-1].total_done == total
    last = {progress.file: progress.done for progress in seen}
    assert last == {name: len(content) for name, content in contents(folder).items()}


def test_an_upload_that_is_interrupted_ends_at_once(storage: Storage, folder: Path) -> None:
    storage.fault = lambda request: Reply(end="hang") if request.method == "PUT" else None
    code = f"""
import os, signal, threading
from pathlib import Path
from firectl import Client
threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    Client("key12345", "acme", {storage.url!r}).models.upload("m", Path({str(folder)!r}))
except KeyboardInterrupt:
    print("interrupted")
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)
    assert time.monotonic() - started < 10


def test_memory_stays_flat_however_large_the_file(storage: Storage, folder: Path) -> None:
    code = f"""
from pathlib import Path
from firectl import Client
def peak():
    # Not ru_maxrss: that begins with what the process was forked from.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
client = Client("key12345", "acme", {storage.url!r})
client.models.upload("m", Path({str(folder)!r}))
before = peak()
folder = Path({str(folder)!r})
(folder / "huge").write_bytes(b"")
with open(folder / "huge", "r+b") as file:
    file.truncate(200 * 1024 * 1024)
client.models.upload("m", folder, resumable=False)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert int(done.stdout) < 50 * 1024
    assert len(storage.files["huge"]) == 200 * 1024 * 1024
