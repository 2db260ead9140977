"""`server/doors/files.py`: the client against the platform, both as processes that are killed on the way."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from firectl.client.transfer.upload import PART
from tests.server.folders import write_base
from tests.server.process import Api, PlatformProcess, Refusal, bare, refusal, until
from tests.server.uploads import arriving, folder_of

SIZE = 4 * PART + 4321
TRANSFER = """
import json, os, signal, sys
from pathlib import Path
from firectl import Client
way, url, key, model, folder, limit = sys.argv[1:]
last = [0, 0]
def watch(now):
    last[:] = now.total_done, now.moved
    if now.total_done >= int(limit):
        os.kill(os.getpid(), signal.SIGKILL)
if int(limit) == 0:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    with Client(key, "acme", url) as client:
        getattr(client.models, way)(model, Path(folder), on_progress=watch)
finally:
    print(json.dumps(last))
"""


def transfer(way: str, platform: PlatformProcess, model: str, folder: Path, limit: int = 1 << 60) -> list[int] | None:
    """[bytes done, bytes moved] of a client process; None when it killed itself at `limit` bytes."""
    argv = [sys.executable, "-c", TRANSFER, way, platform.url, platform.key, model, str(folder), str(limit)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with a large file beside it."""
    made = write_base(tmp_path_factory.mktemp("large"))
    (made / "large.bin").write_bytes(os.urandom(SIZE))
    return made


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWORKS_HOME", str(tmp_path / "fireworks-home"))


def make(api: Api, model: str) -> None:
    details = {"kind": "HF_BASE_MODEL", "baseModelDetails": {"checkpointFormat": "HUGGINGFACE"}}
    api.ok("POST", "models", {"modelId": model, "model": details})


@pytest.mark.parametrize(
    "percent", [50, *(pytest.param(percent, marks=pytest.mark.slow) for percent in (0, 1, 25, 99, 100))]
)
def test_a_client_killed_on_the_way_sends_at_most_a_part_again(
    platform: PlatformProcess, api: Api, folder: Path, percent: int
) -> None:
    model = f"killed-{percent}"
    make(api, model)
    total = sum(path.stat().st_size for path in folder.iterdir())
    limit = total * percent // 100
    assert transfer("upload", platform, model, folder, limit) is None
    again = transfer("upload", platform, model, folder)
    assert again is not None
    assert again[0] == total
    assert again[1] <= total - limit + PART
    back = folder.parent / f"back-{percent}"
    assert transfer("download", platform, model, back, limit) is None
    again = transfer("download", platform, model, back)
    assert again is not None
    assert again[1] <= total - limit + PART
    assert {path.name: path.read_bytes() for path in back.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


@pytest.mark.slow
def test_a_platform_killed_on_the_way_goes_on_from_what_it_had(
    start: Callable[..., PlatformProcess], folder: Path
) -> None:
    first = start()
    port = first.url.rpartition(":")[2]
    make(first.api, "m")
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert transfer("upload", first, "m", folder, total // 2) is None
    first.kill()
    again = transfer("upload", start("--port", port), "m", folder)
    assert again is not None
    assert again[1] <= total - total // 2 + PART


def test_a_platform_killed_while_bytes_arrive_goes_on_from_what_it_had(
    start: Callable[..., PlatformProcess], folder: Path
) -> None:
    first = start()
    make(first.api, "m")
    total = sum(path.stat().st_size for path in folder.iterdir())
    argv = [sys.executable, "-c", TRANSFER, "upload", first.url, first.key, "m", str(folder), str(1 << 60)]

    def arrived() -> int:
        return sum(path.stat().st_size for path in (first.home / "uploads").glob("*/*.session"))

    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sending:
        until(lambda: arrived() > total // 4)
        first.kill()
        said, _ = sending.communicate(timeout=60)
        assert sending.returncode != 0
    sent = json.loads(said)[1]
    again = transfer("upload", start("--port", first.url.rpartition(":")[2]), "m", folder)
    assert again is not None
    assert again[0] == total
    assert sent + again[1] <= total + PART


def test_a_file_damaged_on_the_platforms_disk_is_found_on_the_way_out(
    platform: PlatformProcess, api: Api, folder: Path, tmp_path: Path
) -> None:
    from firectl import Client
    from firectl.errors import ApiError, Code

    make(api, "damaged")
    with Client(platform.key, "acme", platform.url) as client:
        client.models.upload("damaged", folder)
        (kept,) = (platform.home / "models" / "acme").glob("damaged.*/large.bin")
        with kept.open("r+b") as file:
            file.seek(SIZE // 2)
            byte = file.read(1)[0]
            file.seek(SIZE // 2)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(ApiError) as caught:
            client.models.download("damaged", tmp_path / "back")
    assert caught.value.code is Code.DATA_LOSS
    assert not (tmp_path / "back" / "large.bin").exists()


def test_a_disk_without_room_is_said_and_leaves_nothing(start: Callable[..., PlatformProcess]) -> None:
    platform = start()
    platform.api.create_model("full")
    resource.prlimit(platform.process.pid, resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
    url = platform.api.announce("full", {"f": 6 << 20})["f"]
    said = refusal(bare.put(url, content=b"x" * (6 << 20)))
    assert (said.code, said.message) == (8, "the disk of the platform is full")
    assert [path for path in (platform.home / "uploads").rglob("*") if path.is_file()] == []


def test_hashes_travel_with_what_they_are_of(api: Api, adapter: str, adapter_folder: Path) -> None:
    import base64
    import hashlib

    content = (adapter_folder / "adapter_config.json").read_bytes()
    said = api.ok("GET", f"models/{adapter.rsplit('/', 1)[1]}:getDownloadEndpoint")
    digest = hashlib.sha256(content)
    assert said["filenameToSha256"]["adapter_config.json"] == digest.hexdigest()
    assert said["filenameToSize"]["adapter_config.json"] == str(len(content))
    answer = bare.get(said["filenameToSignedUrls"]["adapter_config.json"], headers={"range": "bytes=1-2"})
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"


def test_an_upload_that_somebody_else_ends_says_so_and_can_be_run_again(
    platform: PlatformProcess, api: Api, folder: Path
) -> None:
    from firectl import Client
    from firectl.client.transfer.meter import TransferProgress
    from firectl.errors import ApiError, Code, Exit

    make(api, "wanted-twice")
    begun: list[int] = []

    def begin_theirs(now: TransferProgress) -> None:
        if now.total_done > SIZE // 2 and not begun:
            begun.append(now.total_done)
            url = api.announce("wanted-twice", {"large.bin": SIZE}, resumable=True)["large.bin"]
            assert bare.post(url, headers={"x-goog-resumable": "start"}).status_code == 201

    with Client(platform.key, "acme", platform.url) as client:
        with pytest.raises(ApiError) as caught:
            client.models.upload("wanted-twice", folder, on_progress=begin_theirs)
        assert (caught.value.code, caught.value.exit_code) == (Code.ABORTED, Exit.CONFLICT)
        assert caught.value.message.startswith("somebody else uploads accounts/acme/models/wanted-twice: ")
        assert (caught.value.hint or "").startswith("firectl model get accounts/acme/models/wanted-twice shows ")
        client.models.upload("wanted-twice", folder)
    assert api.ok("GET", "models/wanted-twice")["state"] == "READY"


@pytest.mark.parametrize(("content", "said"), [(b"ab", "2"), (b"abcd", "4")])
def test_a_file_of_another_size_than_announced_is_refused(
    platform: PlatformProcess, api: Api, model: str, content: bytes, said: str
) -> None:
    url = api.announce(model, {"f": 3})["f"]
    message = f"file 'f' was announced with 3 bytes, these are {said}"
    assert refusal(bare.put(url, content=content)) == Refusal(400, 3, message, None)
    assert folder_of(platform, model) is None
    assert arriving(platform, model) == []


def test_a_body_of_unknown_length_must_end_where_it_was_announced(
    platform: PlatformProcess, api: Api, model: str
) -> None:
    def pieces(*parts: bytes) -> Iterator[bytes]:
        yield from parts

    url = api.announce(model, {"f": 3})["f"]
    short = refusal(bare.put(url, content=pieces(b"a", b"b")))
    assert short == Refusal(400, 3, "file 'f' was announced with 3 bytes, these are 2", None)
    long = refusal(bare.put(url, content=pieces(b"ab", b"cd")))
    assert long == Refusal(400, 3, "more bytes came than were announced; the file ends at 3", None)
    assert folder_of(platform, model) is None
    assert bare.put(url, content=pieces(b"a", b"bc")).status_code == 200
    until(lambda: arriving(platform, model) == [])


def test_a_put_cut_off_leaves_nothing_and_can_be_repeated(platform: PlatformProcess, api: Api, model: str) -> None:
    url = api.announce(model, {"f": 1 << 22})["f"]
    split = urlsplit(url)
    with socket.create_connection((split.hostname or "", split.port or 0)) as connection:
        head = f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 22}\r\n\r\n"
        connection.sendall(head.encode() + b"x" * (1 << 21))
        until(lambda: any(path.stat().st_size >= 1 << 20 for path in arriving(platform, model)))
    until(lambda: arriving(platform, model) == [])
    assert folder_of(platform, model) is None
    assert bare.put(url, content=b"y" * (1 << 22)).status_code == 200


def test_a_file_put_again_replaces_the_one_before(platform: PlatformProcess, api: Api, model: str) -> None:
    url = api.announce(model, {"f": 3})["f"]
    for content in (b"abc", b"xyz"):
        assert bare.put(url, content=content).status_code == 200
    folder = folder_of(platform, model)
    assert folder is not None
    assert (folder / "f").read_bytes() == b"xyz"


def test_memory_does_not_grow_with_the_file(platform: PlatformProcess, api: Api, model: str) -> None:
    import psutil

    process = psutil.Process(platform.process.pid)
    size = 192 << 20

    def pieces() -> Iterator[bytes]:
        for _ in range(192):
            yield b"\0" * (1 << 20)

    url = api.announce(model, {"f": size})["f"]
    before = process.memory_info().rss
    assert bare.put(url, content=pieces(), timeout=120).status_code == 200
    assert process.memory_info().rss - before < 48 << 20


def test_every_file_of_a_ready_model_comes_back(api: Api, adapter: str, adapter_folder: Path) -> None:
    model_id = adapter.rsplit("/", 1)[1]
    urls = api.ok("GET", f"models/{model_id}:getDownloadEndpoint")["filenameToSignedUrls"]
    assert {name: bare.get(url).content for name, url in urls.items()} == {
        path.name: path.read_bytes() for path in adapter_folder.iterdir()
    }
    url = urls["adapter_model.safetensors"]
    whole = (adapter_folder / "adapter_model.safetensors").read_bytes()
    part = bare.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert bare.head(url).headers["content-length"] == str(len(whole))
    assert bare.get(url, headers={"range": f"bytes={len(whole)}-"}).status_code == 416
    assert bare.put(url, content=whole).status_code == 403
