"""A home that an earlier commit made opens and serves; a platform of that commit is found and ended by this firectl.

The fixtures come from `tools/make_upgrade_home.py`; docs/testing.md says what is in them.
"""

from __future__ import annotations

import ast
import json
import re
import socket
import sqlite3
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import firectl
from tests.cli.inside import run_inside
from tests.e2e.shell import Shell
from tests.ran import Ran

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "home-278efb1.json").read_text())
DOCUMENTS: dict[str, Any] = EXPECTED["documents"]
ROUTES: dict[str, str] = EXPECTED["routes"]
ACCOUNT = "/v1/accounts/local"

CHANGING = {"created", "pid", "purgeTime", "request_id", "updateTime", "url", "version"}
"""Fields whose value may be another after a restart. That they are there is compared."""
LISTED = {
    ("account",): "/v1/accounts",
    ("api-key",): f"{ACCOUNT}/users/owner/apiKeys",
    ("model",): f"{ACCOUNT}/models",
    ("-a", "fireworks", "model"): "/v1/accounts/fireworks/models",
    ("deployment",): f"{ACCOUNT}/deployments?showDeleted=true",
    ("deployed-model",): f"{ACCOUNT}/deployedModels",
    ("deployment-shape",): f"{ACCOUNT}/deploymentShapes",
}


@dataclass(frozen=True)
class Home:
    """An unpacked home with a platform on it. `found` is what it said of every path in DOCUMENTS, before any test."""

    shell: Shell
    http: httpx.Client
    adapter: Path
    found: dict[str, Any]

    @property
    def local(self) -> Path:
        return self.shell.home / "local"

    def inside(self, *argv: str) -> Ran:
        ran = run_inside(argv, self.shell.env)
        assert ran.code == 0, ran
        return ran


def unpack(folder: Path) -> Shell:
    with tarfile.open(FIXTURES / "home-278efb1.tar.xz") as packed:
        packed.extractall(folder, filter="tar")
    return Shell(folder / "home")


def await_that(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true within {seconds} s"
        time.sleep(0.05)


def client(shell: Shell) -> httpx.Client:
    headers = {"Authorization": f"Bearer {shell.env['FIREWORKS_API_KEY']}"}
    return httpx.Client(base_url=shell.env["FIREWORKS_BASE_URL"], headers=headers, timeout=60)


def all_ready(http: httpx.Client) -> bool:
    deployments = http.get(f"{ACCOUNT}/deployments").json()["deployments"]
    loads = http.get(f"{ACCOUNT}/deployedModels").json()["deployedModels"]
    ready = [row["state"] == "READY" and row["replicaStats"]["readyReplicaCount"] == 1 for row in deployments]
    return all(ready) and all(row["state"] == "DEPLOYED" for row in loads)


def platform_of(shell: Shell) -> psutil.Process:
    return psutil.Process(json.loads((shell.home / "local" / "platform.json").read_text())["pid"])


def is_open(http: httpx.Client) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((http.base_url.host, http.base_url.port or 80)) == 0


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The home of a platform that was killed, moved to another folder and started by this firectl."""
    folder = tmp_path_factory.mktemp("upgrade")
    shell = unpack(folder)
    try:
        shell.ok("local", "up")
        shell.enter()
        with client(shell) as http:
            await_that(lambda: all_ready(http))
            found = {}
            for path in DOCUMENTS:
                answer = http.get(path)
                found[path] = {"status": answer.status_code, "headers": sorted(answer.headers), "body": answer.json()}
            yield Home(shell, http, folder / "adapter", found)
    finally:
        shell.firectl("local", "down")


@pytest.mark.parametrize("name", ROUTES)
def test_what_was_ready_gives_the_same_answers(opened: Home, name: str) -> None:
    route, said = ROUTES[name], EXPECTED["answers"][name]
    ran = opened.inside("chat", route, "Hello!", "--temperature", "0", "--max-tokens", "8")
    assert ran.out.rstrip("\n") == said["chat"]

    asked = {"model": route, "temperature": 0, "max_tokens": 8}
    messages = [{"role": "user", "content": "Hello!"}]
    chat = opened.http.post("/inference/v1/chat/completions", json=asked | {"messages": messages})
    assert set(chat.headers) >= set(EXPECTED["inference_headers"])
    assert chat.json()["choices"][0]["message"]["content"] == said["chat"]
    completion = opened.http.post("/inference/v1/completions", json=asked | {"prompt": "Once"}).json()
    assert completion["choices"][0]["text"] == said["completion"]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_list_and_every_get_answers_as_before(opened: Home, path: str) -> None:
    before, now = DOCUMENTS[path], opened.found[path]
    assert now["status"] == before["status"]
    assert set(now["headers"]) >= set(before["headers"])
    assert missing(before["body"], now["body"]) == []


def missing(before: Any, now: Any, at: str = "") -> list[str]:
    """Where `now` lacks something of `before`; what it has beyond that may be new."""
    if isinstance(before, dict) and isinstance(now, dict):
        gone = [f"{at}.{key}: missing" for key in before if key not in now]
        kept = [key for key in before if key in now and key not in CHANGING]
        return gone + [problem for key in kept for problem in missing(before[key], now[key], f"{at}.{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [problem for n, (old, new) in pairs for problem in missing(old, new, f"{at}[{n}]")]
    return [] if before == now else [f"{at}: {before!r} became {now!r}"]


@pytest.mark.parametrize("words", LISTED, ids=" ".join)
def test_the_command_line_lists_what_there_was(opened: Home, words: tuple[str, ...]) -> None:
    [rows] = [value for value in DOCUMENTS[LISTED[words]]["body"].values() if isinstance(value, list)]
    wanted = {row.get("name") or row["keyId"] for row in rows if row.get("state") != "DELETED"}
    listed = opened.inside(*words, "list", "-o", "json").json
    assert {row.get("name") or row["key_id"] for row in listed} == wanted


def test_a_second_api_key_and_its_profile_still_work(opened: Home) -> None:
    env = {name: opened.shell.env[name] for name in ("FIREWORKS_HOME", "PATH")}
    server = opened.shell.env["FIREWORKS_BASE_URL"]
    ran = run_inside(["-p", "second", "-s", server, "deployment", "list", "-o", "name"], env)
    assert (ran.code, set(ran.out.split())) == (
        0,
        {"accounts/local/deployments/shared", "accounts/local/deployments/merged"},
    ), ran


def test_a_half_upload_goes_on_where_it_was(opened: Home) -> None:
    half = EXPECTED["sessions"]["half"]
    size, there = half["size"], half["there"]
    asked = opened.http.put(half["session"], headers={"Content-Range": f"bytes */{size}"})
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{there - 1}")
    rest = (opened.adapter / half["filename"]).read_bytes()[there:]
    span = {"Content-Range": f"bytes {there}-{size - 1}/{size}"}
    assert opened.http.put(half["session"], content=rest, headers=span).status_code == 200

    assert opened.http.get(f"{ACCOUNT}/models/half:validateUpload").status_code == 200
    assert opened.inside("model", "get", "half", "-o", "json").json["state"] == "READY"


def test_a_half_upload_is_sent_again_by_the_command(opened: Home) -> None:
    sessions = list((opened.local / "uploads").glob("local.half-again.*/*.session"))
    assert [path.stat().st_size for path in sessions] == [EXPECTED["sessions"]["half-again"]["there"]]
    journal = list((opened.shell.home / "uploads").glob("*.jsonl"))
    assert len(journal) == 1, "what the earlier client remembered"
    opened.inside("model", "upload", "half-again", str(opened.adapter), "--enable-resumable-upload")
    assert opened.inside("model", "get", "half-again", "-o", "json").json["state"] == "READY"


def test_a_deleted_deployment_comes_back_with_its_adapter(opened: Home) -> None:
    opened.inside("deployment", "undelete", "gone")
    rows = opened.inside("deployed-model", "list", "-o", "json").json
    back = {row["model"] for row in rows if row["deployment"] == "accounts/local/deployments/gone"}
    assert back == {"accounts/fireworks/models/tiny", "accounts/local/models/alpha"}
    opened.inside("deployment", "delete", "gone", "--yes", "--ignore-checks", "--hard")


def test_every_table_and_column_is_still_there(opened: Home) -> None:
    with sqlite3.connect(f"file:{opened.local / 'platform.sqlite'}?mode=ro", uri=True) as database:
        now = {
            table: [row[1] for row in database.execute(f"PRAGMA table_info('{table}')")] for table in EXPECTED["tables"]
        }
    database.close()
    gone = {table: set(before) - set(now[table]) for table, before in EXPECTED["tables"].items()}
    assert {table: columns for table, columns in gone.items() if columns} == {}


def test_every_file_of_a_home_keeps_its_place(opened: Home, tmp_path: Path) -> None:
    before = unpack(tmp_path).home / "local"
    kept = {"platform.json", "platform.sqlite", "credentials.json", "models", "merged", "logs"}
    assert kept <= {path.name for path in opened.local.iterdir()}
    assert (opened.local / "credentials.json").read_bytes() == (before / "credentials.json").read_bytes()
    described = json.loads((before / "platform.json").read_bytes())
    assert described.keys() <= json.loads((opened.local / "platform.json").read_bytes()).keys()
    for path in (before / "models").rglob("*"):
        if path.is_file():
            assert (opened.local / path.relative_to(before)).read_bytes() == path.read_bytes()


def test_every_metric_keeps_its_name(opened: Home) -> None:
    pages = [opened.http.get(f"{ACCOUNT}/metrics").text]
    for child in platform_of(opened.shell).children(recursive=True):
        ports = [found.laddr.port for found in child.net_connections("tcp") if found.status == "LISTEN"]
        pages += [httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in ports]
    assert len(pages) >= 3, "the account's and one of each engine"
    account, engine = (
        set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)) for page in (pages[0], "\n".join(pages[1:]))
    )
    assert set(EXPECTED["metrics"]["account"]) - account == set()
    assert set(EXPECTED["metrics"]["engine"]) - engine == set()


GONE = {"headers": {"x-keeps-all-but"}}
"""What went, as the changelog says: the header of a part of an upload whose end had to be sent again."""


@pytest.fixture(scope="module")
def spelled() -> set[str]:
    """Every string of the source."""
    trees = (ast.parse(path.read_text()) for path in Path(firectl.__file__).parent.rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("kind", EXPECTED["names"])
def test_every_word_header_and_variable_keeps_its_name(spelled: set[str], kind: str) -> None:
    """Each is a string of its own in the source, as it was: one that is put together from parts is not found."""
    said = {text.lower() for text in spelled} if kind == "headers" else spelled
    assert set(EXPECTED["names"][kind]) - said == GONE.get(kind, set())


@pytest.mark.parametrize("module", ["firectl.server", "firectl.lora.merge"])
def test_a_module_that_is_run_by_its_name_keeps_it(opened: Home, module: str) -> None:
    ran = opened.shell.run([sys.executable, "-m", module, "--help"])
    assert ran.code == 0, ran
    assert f"python -m {module}" in ran.out


def test_down_leaves_nothing_running(opened: Home) -> None:
    platform = platform_of(opened.shell)
    processes = [platform, *platform.children(recursive=True)]
    opened.shell.ok("local", "down")
    assert not psutil.wait_procs(processes, timeout=10)[1]
    assert not is_open(opened.http)


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Shell]:
    """The home with a platform of the earlier commit running on it; the shell has this firectl again."""
    with tarfile.open(FIXTURES / "firectl-278efb1.tar.xz") as packed:
        packed.extractall(tmp_path / "code", filter="data")
    shell = unpack(tmp_path)
    try:
        shell.ok("local", "up", PYTHONPATH=str(tmp_path / "code"))
        assert platform_of(shell).environ()["PYTHONPATH"] == str(tmp_path / "code")
        where = [sys.executable, "-c", "import firectl.server as server; print(server.__file__)"]
        assert shell.run(where, PYTHONPATH=str(tmp_path / "code")).out.startswith(str(tmp_path / "code"))
        shell.enter()
        yield shell
    finally:
        shell.firectl("local", "down")


def test_a_running_platform_of_the_earlier_commit_is_found_used_and_ended(earlier: Shell) -> None:
    platform = platform_of(earlier)
    status = earlier.ok("local", "status", "-o", "json").json
    assert (status["state"], status["pid"]) == ("UP", platform.pid)
    assert "The platform is already running" in earlier.ok("local", "up").err
    assert platform_of(earlier) == platform

    for name in ("alpha", "merged"):
        ran = run_inside(["chat", ROUTES[name], "Hello!", "--temperature", "0", "--max-tokens", "8"], earlier.env)
        assert (ran.code, ran.out.rstrip("\n")) == (0, EXPECTED["answers"][name]["chat"]), ran
    for words in LISTED:
        assert run_inside([*words, "list"], earlier.env).code == 0

    processes = [platform, *platform.children(recursive=True)]
    assert len(processes) > 2
    earlier.ok("local", "down")
    assert not psutil.wait_procs(processes, timeout=10)[1]
    with client(earlier) as http:
        assert not is_open(http)

    earlier.ok("local", "up")
    earlier.enter()
    ran = run_inside(["chat", ROUTES["beta"], "Hello!", "--temperature", "0", "--max-tokens", "8"], earlier.env)
    assert ran.out.rstrip("\n") == EXPECTED["answers"]["beta"]["chat"], ran
