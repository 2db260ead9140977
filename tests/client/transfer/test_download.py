"""Downloads: whole, resumed, beside others, from servers with and without ranges (`client/transfer/download.py`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.meter import TransferProgress
from firectl.errors import ApiError, Code, Exit, InputError, NetworkError
from tests.client.script_server import RESET, Received, Reply
from tests.client.storage import Storage
from tests.client.transfer.interrupted import CUT, UNIT, contents, cut_download, flip

Connect = Callable[..., Client]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "sub").mkdir(parents=True)
    for name, size in {"config.json": 300, "empty": 0, "sub/ä b.bin": 2_500_000, "w": 5000}.items():
        (made / name).write_bytes(os.urandom(size))
    return made


def test_a_model_comes_back_as_it_was_sent(client: Client, storage: Storage, folder: Path, tmp_path: Path) -> None:
    client.models.upload("m", folder)
    back = tmp_path / "back"
    done = client.models.download("m", back)
    assert contents(back) == contents(folder)
    assert set(done.written) == {back / name for name in contents(folder)}


def test_a_download_that_breaks_off_starts_again_and_leaves_no_parts(
    client: Client, storage: Storage, tmp_path: Path
) -> None:
    storage.files = {"w": os.urandom(500_000)}
    broken: list[Received] = []

    def fault(request: Received) -> Reply | None:
        if not request.path.startswith("/store/") or len(broken) == 2:
            return None
        broken.append(request)
        return Reply(storage.reply(request).raw[:100_000], end="reset")

    storage.fault = fault
    client.models.download("m", tmp_path / "back")
    assert contents(tmp_path / "back") == storage.files
    storage.fault = lambda request: RESET if request.path.startswith("/store/") else None
    with pytest.raises(NetworkError):
        client.models.download("m", tmp_path / "again")
    assert contents(tmp_path / "again") == {}


def test_a_download_writes_nothing_outside_its_folder(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.files = {"../evil": b"x", "good": b"y"}
    with pytest.raises(InputError, match="cannot be written"):
        client.models.download("m", tmp_path / "in")
    assert contents(tmp_path) == {}


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


def test_a_download_asks_for_the_rest_of_the_same_version(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    _, rest = cut_download(storage, client, tmp_path, 2 * UNIT + 77)
    assert rest.headers["range"] == f"bytes={2 * UNIT + 77}-{3 * UNIT - 1}"
    assert rest.headers["if-match"].startswith('"')
    (part,) = tmp_path.glob(".*")
    assert part.read_bytes() == storage.files["w"][: 2 * UNIT + 77]
    client.models.download("m", tmp_path)
    assert [r.headers["range"] for r in storage.requests[2:]] == [rest.headers["range"]]
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


def test_a_download_goes_on_in_another_run(client: Client, storage: Storage, tmp_path: Path, connect: Connect) -> None:
    storage.says_hashes = True
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
    storage.says_hashes = True
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
    storage.says_hashes = True
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
    storage.says_hashes = True
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
