"""Downloads that meet others, many files at once, and servers that give no ranges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.meter import Progress
from firectl.client.partial import Partial, Remote
from firectl.errors import ApiError, Code, Exit
from tests.client.script_server import Received, Reply
from tests.client.storage import Storage

UNIT = 1024 * 1024


def test_a_file_that_another_download_writes_is_left_to_it(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = True
    storage.files = {"w": os.urandom(3 * UNIT)}
    other = Partial(tmp_path / "w", Remote(size=3 * UNIT, etag='"other"'), lambda: None)
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
    seen: list[Progress] = []
    client.models.download("m", tmp_path, on_progress=seen.append)
    assert (tmp_path / "w").read_bytes() == storage.files["w"]
    assert max(progress.total_done for progress in seen) == seen[-1].total_size == 3 * UNIT + 5
    # Where the server gives ranges, nothing that came comes again.
    assert (seen[-1].moved > seen[-1].total_size) is not says_hashes
    assert seen[-1].moved >= seen[-1].total_size
