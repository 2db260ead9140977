"""Downloads that meet others, many files at once, and servers that give no ranges."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.meter import TransferProgress
from firectl.client.transfer.part_file import PartFile, RemoteFile
from firectl.errors import ApiError, Code, Exit
from tests.client.script_server import Received, Reply, answer
from tests.client.storage import Storage

UNIT = 1024 * 1024


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


def test_a_second_download_says_that_it_wrote_nothing(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"a": b"a" * 100, "b": b"b" * 100}
    first = client.models.download("m", tmp_path)
    assert (first.written, first.there) == ((tmp_path / "a", tmp_path / "b"), ())
    (tmp_path / "a").write_bytes(b"x" * 100)
    again = client.models.download("m", tmp_path)
    assert (again.written, again.there) == ((tmp_path / "a",), (tmp_path / "b",))


def test_a_whole_folder_needs_few_files_open_at_once(storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = dict.fromkeys((f"f{number:03}" for number in range(100)), os.urandom(UNIT + 1))
    code = f"""
import resource
from pathlib import Path
from firectl import Client
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
Client("key12345", "acme", {storage.url!r}).models.download("m", Path({str(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert {path.name: path.read_bytes() for path in tmp_path.glob("f*")} == storage.files


@pytest.mark.parametrize("says_hashes", [False, True])
def test_progress_never_passes_the_whole(client: Client, storage: Storage, tmp_path: Path, says_hashes: bool) -> None:
    storage.says_hashes = says_hashes
    storage.files = {"w": os.urandom(3 * UNIT + 5)}
    broken: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if request.headers.get("range") == "bytes=0-0" or "/store/" not in request.path or len(broken) == 2:
            return None
        broken.append(request)
        return Reply(storage.reply(request).raw[: 2 * UNIT + UNIT // 2], end="close")

    storage.fault = fault
    seen: list[TransferProgress] = []
    client.models.download("m", tmp_path, on_progress=seen.append)
    assert (tmp_path / "w").read_bytes() == storage.files["w"]
    assert max(progress.total_done for progress in seen) == seen[-1].total_size == 3 * UNIT + 5
    # Where the server gives ranges, nothing that came comes again.
    assert (seen[-1].moved > seen[-1].total_size) is not says_hashes
    assert seen[-1].moved >= seen[-1].total_size


def cut_off_at(storage: Storage, client: Client, folder: Path, offset: int) -> list[Received]:
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


def test_a_download_asks_for_the_rest_of_the_same_version(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    _, rest = cut_off_at(storage, client, tmp_path, 2 * UNIT + 77)
    assert rest.headers["range"] == f"bytes={2 * UNIT + 77}-{3 * UNIT - 1}"
    assert rest.headers["if-match"].startswith('"')
    (part,) = tmp_path.glob(".*")
    assert part.read_bytes() == storage.files["w"][: 2 * UNIT + 77]
    client.models.download("m", tmp_path)
    assert [r.headers["range"] for r in storage.requests[2:]] == [rest.headers["range"]]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir() if path.is_file()] == [
        ("w", storage.files["w"])
    ]


def test_another_version_of_a_file_begins_at_its_first_byte(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    cut_off_at(storage, client, tmp_path, 2 * UNIT)
    storage.files = {"w": os.urandom(3 * UNIT)}
    seen: list[TransferProgress] = []
    client.models.download("m", tmp_path, on_progress=seen.append)
    assert seen[-1].moved == 3 * UNIT
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir() if path.is_file()] == [
        ("w", storage.files["w"])
    ]


def test_another_version_half_way_is_refused(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    broken: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if request.headers.get("range") == "bytes=0-0" or "/store/" not in request.path or broken:
            return None
        broken.append(request)
        half = storage.reply(request).raw[: 2 * UNIT]
        storage.files = {"w": os.urandom(3 * UNIT)}
        return Reply(half, end="close")

    storage.fault = fault
    with pytest.raises(ApiError, match="w has changed on the server since the download began") as caught:
        client.models.download("m", tmp_path)
    assert (caught.value.code, caught.value.exit_code) == (Code.FAILED_PRECONDITION, Exit.CONFLICT)
    assert not (tmp_path / "w").exists()


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
