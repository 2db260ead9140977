"""`server/__main__.py`: one process per folder, private files, nothing acknowledged lost, a clean end."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from firectl import __version__
from tests.server.folders import write_adapter, write_base
from tests.server.process import ENVIRONMENT, Api, PlatformProcess, bare, refused, until

Start = Callable[..., PlatformProcess]


def test_it_says_where_it_is_once_it_answers(start: Start) -> None:
    platform = start()
    info = json.loads((platform.home / "platform.json").read_bytes())
    pid = platform.process.pid
    assert info == {"url": platform.url, "account": "acme", "pid": pid, "version": __version__}
    assert bare.get(f"{platform.url}/health").json() == {"status": "ok"}
    assert httpx.URL(platform.url).host == "127.0.0.1"


def test_a_second_platform_on_the_folder_is_refused_and_the_first_goes_on(start: Start) -> None:
    platform = start()
    ended = refused(home=platform.home)
    assert ended.returncode == 5
    assert ended.stdout == ""
    assert ended.stderr == (
        f"Error: a platform is already running on {platform.home} at {platform.url} (code = FailedPrecondition); "
        "firectl local down stops it\n"
    )
    assert bare.get(f"{platform.url}/health").status_code == 200


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = refused("--port", str(port), home=tmp_path / "local")
    assert ended.returncode == 5
    assert ended.stderr == (
        f"Error: port {port} of 127.0.0.1 cannot be used: Address already in use (code = FailedPrecondition); "
        "choose another with --port, or omit --port\n"
    )


def test_an_account_that_is_no_id_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    ended = refused(home=tmp_path / "local", account="Not An ID")
    assert ended.returncode == 2
    assert "is not a valid account ID" in ended.stderr
    assert not (tmp_path / "local").exists()


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "shutdown"])
def test_it_ends_cleanly_when_told_to_and_gives_its_port_back(start: Start, end: str) -> None:
    platform = start()
    port = httpx.URL(platform.url).port
    if end == "shutdown":
        assert platform.api.ok("POST", "/v1/local:shutdown") == {}
    else:
        platform.process.send_signal(getattr(signal, end))
    assert platform.process.wait(20) == 0
    with socket.create_server(("127.0.0.1", port or 0)):
        pass


def test_shutting_down_needs_the_key(start: Start) -> None:
    platform = start()
    assert bare.post(f"{platform.url}/v1/local:shutdown").status_code == 401
    assert platform.process.poll() is None


@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_its_files_are_for_its_owner_alone_whatever_the_umask(start: Start, umask: int, tmp_path: Path) -> None:
    platform = start(umask=umask)
    platform.api.ready_model(write_base(tmp_path / "b"))
    paths = [platform.home.parent, platform.home, *platform.home.rglob("*")]
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    assert modes[str(platform.home / "credentials.json")] == 0o600
    assert modes[str(platform.home)] == 0o700
    assert len(modes) > 12


@dataclass(frozen=True)
class Past:
    """A platform that did its work and ended: what it held, and what it left."""

    home: Path
    key: str
    other_key: str
    signature: str
    children: list[psutil.Process]
    log: str


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder = tmp_path_factory.mktemp("past")
    platform = PlatformProcess(folder / "local")
    api, key = platform.api, platform.key
    assert platform.process.stdout is not None
    platform.process.stdout.close()  # as its parent does when it ends
    api.ready_model(write_base(folder / "base"))
    other = api.ok("POST", "users/owner/apiKeys", {})["key"]
    for path in ("v1/accounts", key, f"v1/accounts?api_key={key}", "v1/x%0A2026-01-01 INFO forged"):
        for used in (key, other):
            bare.get(f"{platform.url}/{path}", headers={"authorization": f"Bearer {used}"})
    api.create_model("m")
    url = api.announce("m", {"f": 1})["f"]
    assert bare.put(url, content=b"x").status_code == 200
    children = psutil.Process(platform.process.pid).children(recursive=True)
    assert platform.stop() == 0
    log = (platform.home / "logs" / "platform.log").read_text()
    assert "GET /health" not in log
    return Past(platform.home, key, other, httpx.URL(url).params["signature"], children, log)


def test_the_key_is_in_its_credential_store_and_nowhere_else(past: Past) -> None:
    files = [path for path in past.home.rglob("*") if path.is_file()]
    assert [path.name for path in files if past.key.encode() in path.read_bytes()] == ["credentials.json"]
    assert [path.name for path in files if past.other_key.encode() in path.read_bytes()] == []
    assert "GET /<redacted> 404" in past.log


def test_no_signature_of_a_url_is_logged(past: Past) -> None:
    assert "PUT /files/accounts/acme/models/m/f 200" in past.log
    assert past.signature not in past.log


def test_a_request_cannot_write_a_line_of_its_own_into_the_log(past: Past) -> None:
    assert r"GET /v1/x\n2026-01-01 INFO forged 404" in past.log
    assert not any(line.startswith("2026-01-01 INFO forged") for line in past.log.splitlines())


def test_it_leaves_no_process_behind(past: Past) -> None:
    assert [child for child in past.children if child.is_running()] == []


def test_nothing_acknowledged_is_lost_to_kill_9(start: Start, tmp_path: Path) -> None:
    platform = start()
    api = platform.api
    base = api.ready_model(write_base(tmp_path / "b"), model_id="base")
    adapter = api.ready_model(write_adapter(tmp_path / "a"), base, "adapter")
    deployment = api.parked(base, "d", enableAddons=True)
    loaded = api.ok(
        "POST", "deployedModels", {"model": adapter, "deployment": f"{api.account}/deployments/{deployment}"}
    )
    key = api.ok("POST", "users/owner/apiKeys", {"apiKey": {"displayName": "kept"}})
    until(lambda: api.deployment("d")["state"] == "READY")
    models, load, keys = f"/v1/{api.account}/models", f"/v1/{loaded['name']}", "users/owner/apiKeys"
    before = [api.ok("GET", path) for path in (models, keys)]
    api.ok("DELETE", "deployments/d")
    renamed = api.ok("PATCH", f"/v1/{adapter}", {"displayName": "last words"})
    platform.kill()
    restarted = start()
    again = restarted.api
    assert restarted.key == platform.key
    assert [model["name"] for model in before[0]["models"]] == [adapter, base]
    before[0]["models"][0] = renamed
    assert [again.ok("GET", path) for path in (models, keys)] == before
    again.until_deleted("d")
    again.until_gone(load)
    kept = bare.get(f"{again.url}/v1/accounts", headers={"authorization": f"Bearer {key['key']}"})
    assert kept.status_code == 200


def test_kill_9_while_creating_loses_nothing_that_was_acknowledged(start: Start) -> None:
    platform = start()
    asked: list[str] = []
    acknowledged: list[str] = []

    def create() -> None:
        with contextlib.suppress(httpx.TransportError):
            while True:
                asked.append(f"m-{len(asked)}")
                platform.api.create_model(asked[-1])
                acknowledged.append(asked[-1])

    creating = threading.Thread(target=create)
    creating.start()
    until(lambda: len(acknowledged) >= 20)
    platform.kill()
    creating.join(30)
    there = set(start().api.names("models", "models", pageSize=200))
    assert set(acknowledged) <= there <= set(asked)
    assert len(asked) == len(acknowledged) + 1


def test_an_upload_cut_off_by_kill_9_goes_on_where_it_was(start: Start, tmp_path: Path) -> None:
    platform = start()
    folder = write_base(tmp_path / "b")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    weights = files["model.safetensors"]
    platform.api.create_model("base")
    urls = platform.api.announce("base", {name: len(data) for name, data in files.items()}, resumable=True)
    sessions = {
        name: bare.post(url, headers={"x-goog-resumable": "start"}).headers["location"] for name, url in urls.items()
    }
    half = len(weights) // 2
    for name, session in sessions.items():
        data = weights[:half] if name == "model.safetensors" else files[name]
        span = f"bytes 0-{len(data) - 1}/{len(files[name])}"
        assert bare.put(session, content=data, headers={"content-range": span}).status_code in (200, 308)
    platform.kill()
    again = start("--port", str(httpx.URL(platform.url).port))
    asked = bare.put(sessions["model.safetensors"], headers={"content-range": f"bytes */{len(weights)}"})
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{half - 1}")
    span = f"bytes {half}-{len(weights) - 1}/{len(weights)}"
    rest = bare.put(sessions["model.safetensors"], content=weights[half:], headers={"content-range": span})
    assert rest.status_code == 200
    assert again.api.validate("base") == []
    assert list((again.home / "uploads").iterdir()) == []


def test_what_a_killed_platform_left_lying_is_set_aside(start: Start, tmp_path: Path) -> None:
    platform = start()
    platform.api.create_model("kept")
    platform.api.announce("kept", {"f": 1})
    orphan = platform.home / "models" / "acme" / "gone.x1y2z3a4"
    orphan.mkdir(parents=True)
    (orphan / "f").write_bytes(b"x")
    uploads = platform.home / "uploads"
    (uploads / "acme.gone.x1y2z3a4").mkdir()
    (uploads / "acme.gone.x1y2z3a4" / "f").write_bytes(b"x")
    platform.kill()
    trash = start().home / "trash"
    assert not orphan.exists()
    assert list(uploads.iterdir()) == []
    assert (trash / "models" / "acme" / "gone.x1y2z3a4" / "f").read_bytes() == b"x"
    assert (trash / "uploads" / "acme.gone.x1y2z3a4" / "f").read_bytes() == b"x"


def test_another_account_on_the_same_folder_sees_only_its_own(tmp_path: Path) -> None:
    home = tmp_path / "local"
    first = PlatformProcess(home, account="one")
    first.api.create_model("mine")
    first.stop()
    second = PlatformProcess(home, account="two")
    try:
        assert second.api.names("models", "models") == []
        assert second.api.at("one").refused("GET", "models/mine").status == 404
        assert [a["name"] for a in second.api.ok("GET", "/v1/accounts")["accounts"]] == ["accounts/two"]
    finally:
        second.stop()


def test_it_starts_without_torch() -> None:
    heavy = "('torch', 'transformers', 'peft', 'numpy')"
    code = f"import sys, firectl.server.__main__; print([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_what_the_platform_allows_itself_can_be_set(start: Start) -> None:
    api: Api = start("--max-replicas", "1", "--max-model-bytes", "10").api
    assert api.ok("GET", "/v1/local")["replicas"]["max"] == 1
    api.create_model("m")
    said = api.refused("POST", "models/m:getUploadEndpoint", {"filenameToSize": {"f": "11"}})
    assert said.message == "the model's files would be 11 bytes; this platform accepts 10 per model (--max-model-bytes)"


def test_answers_on_a_kept_connection_wait_for_no_acknowledgement(platform: PlatformProcess) -> None:
    took = []
    with httpx.Client(base_url=platform.url) as kept:
        for _ in range(30):
            started = time.perf_counter()
            assert kept.get("/health").status_code == 200
            took.append(time.perf_counter() - started)
    # A client's kernel lets one wait 40 ms once the connection is no longer new.
    assert min(took[-10:]) < 0.03
