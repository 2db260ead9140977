"""`firectl local` and the importing of models: a real platform, started and stopped as a person would."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firectl.cli.machine.process import until
from tests.cli.conftest import Cli
from tests.tiny import make_adapter, make_base

BASE = "accounts/fireworks/models/base"


@pytest.fixture
def here(cli: Cli) -> Iterator[Cli]:
    """No platform yet; whatever is started is stopped in the end."""
    yield cli
    cli("local", "down")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of one platform for all tests that start and stop none."""
    home = tmp_path_factory.mktemp("shared") / "home"
    yield home
    environment = {**os.environ, "FIREWORKS_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "firectl", "local", "down"], env=environment, capture_output=True)


@pytest.fixture
def running(cli: Cli, shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A platform that runs."""
    monkeypatch.setenv("FIREWORKS_HOME", str(shared_home))
    cli.home = shared_home
    before = os.umask(0)
    try:
        up = cli("local", "up")
    finally:
        os.umask(before)
    assert up.code == 0, up.err
    return cli


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    base = make_base(root / "base")
    return {"base": base, "lora": make_adapter(root / "lora", base)}


def is_open(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def pid(cli: Cli) -> int:
    """The platform's process, as it says itself: the one in a file may have ended."""
    return int(cli("local", "status", "-o", "json").json["pid"])


def test_up_is_safe_to_run_twice_and_down_leaves_nothing(here: Cli) -> None:
    first = here("local", "up", "-o", "json")
    assert first.code == 0, first.err
    assert first.err == 'To send commands and SDKs there: eval "$(firectl local env)"\n'
    assert first.json["state"] == "UP"
    assert first.json["account"] == "local"
    process = pid(here)
    second = here("local", "up", "-o", "json")
    assert (second.json, second.err) == (first.json, f"The platform is running already\n{first.err}")
    assert pid(here) == process

    status = here("local", "status", "-o", "json").json
    assert status["url"] == first.json["url"]
    assert status["replicas"]["ready"] == 0

    down = here("local", "down")
    assert (down.code, down.out, down.err) == (0, f"State: DOWN\nHome: {here.home}/local\n", "")
    assert not is_open(first.json["url"])
    again = here("local", "down")
    assert (again.code, again.err) == (0, "no platform was running\n")
    assert here("local", "status", "-o", "json").json == {"state": "DOWN", "home": f"{here.home}/local"}

    assert here("local", "up", "-o", "json").json["url"] == first.json["url"], "it keeps its port"


def test_its_files_are_its_owners_alone_under_any_umask_and_the_key_is_in_two_of_them(running: Cli) -> None:
    assert stat.S_IMODE(running.home.stat().st_mode) == 0o700
    key = json.loads((running.home / "local" / "credentials.json").read_text())["apiKey"]
    holders = set()
    for path in running.home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        if path.is_file() and key.encode() in path.read_bytes():
            holders.add(path.relative_to(running.home).as_posix())
    assert holders == {"auth.ini", "local/credentials.json"}
    command = Path(f"/proc/{pid(running)}/cmdline")
    if command.exists():
        assert key.encode() not in command.read_bytes()


def test_env_is_lines_for_a_shell_and_leads_there(running: Cli) -> None:
    url = running("local", "up", "-o", "json").json["url"]
    ran = running("local", "env")
    lines = dict(line.removeprefix("export ").split("=", 1) for line in ran.out.splitlines())
    assert list(lines) == ["FIREWORKS_BASE_URL", "FIREWORKS_API_KEY", "FIREWORKS_ACCOUNT_ID"]
    assert (lines["FIREWORKS_BASE_URL"], lines["FIREWORKS_ACCOUNT_ID"]) == (url, "local")
    environment = {name: shlex.split(value)[0] for name, value in lines.items()}
    assert running("local", "env", "-o", "json").json == environment
    whoami = running("whoami", "-o", "json", env=environment)
    assert (whoami.code, whoami.err) == (0, "")
    assert whoami.json["sources"]["server"] == "FIREWORKS_BASE_URL"
    wrong = running("account", "list", env={**environment, "FIREWORKS_API_KEY": "fw_wrong"})
    assert (wrong.code, wrong.out) == (4, "")


def test_without_credentials_commands_go_to_the_platform_that_is_up_and_say_so(running: Cli) -> None:
    url = running("local", "up", "-o", "json").json["url"]
    ran = running("account", "list", "-o", "name")
    assert (ran.code, ran.out) == (0, "accounts/local\n")
    assert ran.err == f"no API key is set: going to the platform on this machine, {url}\n"
    assert running("whoami", "-o", "json").json["sources"]["profile"] == (
        "no API key is set, and a platform runs on this machine"
    )
    other = {"FIREWORKS_ACCOUNT_ID": "acme"}
    assert running("model", "list", env=other).code == 0
    assert running("model", "list", "-a", "fireworks", env=other).code == 0
    assert running("account", "list", "-p", "local").err == ""
    elsewhere = running("account", "list", "-s", "127.0.0.1:1")
    assert (elsewhere.code, elsewhere.out) == (2, "")
    assert elsewhere.err.startswith("Error: no API key")


def test_a_killed_platform_is_down_and_comes_back_where_it_was(here: Cli) -> None:
    url = here("local", "up", "-o", "json").json["url"]
    os.kill(pid(here), signal.SIGKILL)
    assert until(lambda: here("local", "status", "-o", "json").json["state"] == "DOWN", 10)
    env = here("local", "env")
    assert (env.code, env.out) == (2, "")
    assert env.err == "Error: no platform runs on this machine (code = InvalidArgument)\nHint: firectl local up\n"
    assert here("local", "up", "-o", "json").json["url"] == url


@pytest.mark.slow
def test_a_platform_that_hangs_is_killed_in_the_end(here: Cli) -> None:
    url = here("local", "up", "-o", "json").json["url"]
    os.kill(pid(here), signal.SIGSTOP)
    assert here("local", "status", "-o", "json").json["state"] == "DOWN"
    up = here("local", "up")
    assert (up.code, up.out) == (7, "")
    assert up.err.startswith("Error: a platform holds this folder and does not answer (code = Unavailable)\n")
    down = here("local", "down")
    assert (down.code, down.err) == (0, "the platform does not stop by itself: killing it\n")
    assert here("local", "up", "-o", "json").json["url"] == url


def test_a_port_that_is_taken_is_refused_or_left_for_another(here: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = here("local", "up", "--port", str(port))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(f"Error: port {port} is in use (code = InvalidArgument)\n")
        info = {"url": f"http://127.0.0.1:{port}", "account": "mine", "version": "0", "pid": 1}
        (here.home / "local" / "platform.json").write_text(json.dumps(info))
        ran = here("local", "up", "-o", "json")
        assert ran.code == 0
        assert ran.err.startswith(f"port {port}, where the platform was, is in use now: it gets another one\n")
        assert ran.json["url"] != info["url"]
        assert ran.json["account"] == "mine", "it keeps its account"
        ran = here("local", "up", "-a", "other")
        assert (ran.code, ran.out) == (2, "")
        assert "belongs to the account 'mine', not 'other'" in ran.err


def test_two_at_once_start_one_platform(here: Cli) -> None:
    argv = [sys.executable, "-m", "firectl", "local", "up", "-o", "json"]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    urls = [json.loads(process.communicate(timeout=60)[0])["url"] for process in both]
    assert urls[0] == urls[1]


def test_a_start_that_fails_says_why_and_leaves_nothing(here: Cli) -> None:
    (here.home / "local").mkdir(parents=True)
    (here.home / "local" / "credentials.json").write_text("not ours")
    ran = here("local", "up")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: the platform did not start: ")
    assert "credentials.json is not a credential file of this platform" in ran.err
    assert here("local", "status", "-o", "json").json["state"] == "DOWN"


def test_up_on_another_database_is_refused_with_the_command_that_leads_back(here: Cli, tmp_path: Path) -> None:
    assert here("local", "up").code == 0
    here("local", "down")
    home = here.home / "local"
    weights = home / "models" / "local" / "mine.x1y2z3a4" / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"w")
    url = f"sqlite:///{tmp_path}/mistyped.sqlite"
    ran = here("local", "up", env={"FIRECTL_DATABASE_URL": url})
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"Error: the platform did not start: the data folder {home} does not belong to the database {url}: there is no "
        "such database; nothing was changed (code = Internal)\n"
        "Hint: env -u FIRECTL_DATABASE_URL firectl local up\n"
    )
    assert weights.read_bytes() == b"w"
    assert list(tmp_path.glob("*.sqlite")) == []


def test_what_no_model_owns_is_in_the_trash_until_a_prune(here: Cli) -> None:
    nowhere = here("local", "df", "-o", "json")
    kinds = ("models", "merged", "uploads", "logs", "trash")
    assert nowhere.json == {"home": f"{here.home}/local", **{f"{kind}_bytes": 0 for kind in kinds}}
    assert here("local", "prune", "-o", "json").json == {"home": f"{here.home}/local", "freed_bytes": 0}
    assert not here.home.exists(), "to look makes nothing"

    def leave(name: str, size: int) -> None:
        folder = here.home / "local" / "models" / "local" / name
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"w" * size)

    assert here("local", "up").code == 0
    here("local", "down")
    leave("first.x1y2z3a4", 1500)
    assert here("local", "df", "-o", "json").json["models_bytes"] == 1500
    assert here("local", "up").code == 0
    df = here("local", "df")
    assert df.out.splitlines()[1:4] == ["Models: 0 B", "Merged: 0 B", "Uploads: 0 B"]
    assert df.out.splitlines()[5] == "Trash: 1.5 kB"
    assert df.err == "to empty the trash: firectl local prune\n"
    assert here("local", "prune").out == f"Home: {here.home}/local\nFreed: 1.5 kB\n"
    assert here("local", "df", "-o", "json").json["trash_bytes"] == 0
    assert here("account", "list").code == 0, "it runs on"
    here("local", "down")
    leave("second.x1y2z3a4", 7)
    assert here("local", "up").code == 0
    here("local", "down")
    assert here("local", "prune", "-o", "json").json["freed_bytes"] == 7


def test_without_a_platform_there_is_no_log_and_nobody_to_go_to(here: Cli) -> None:
    empty = here("local", "logs")
    assert (empty.code, empty.out) == (2, "")
    assert empty.err == (
        f"Error: no platform has run here yet: {here.home}/local holds no log (code = InvalidArgument)\n"
        "Hint: firectl local up\n"
    )
    assert here("account", "list").code == 2


def test_logs_are_its_last_lines(running: Cli) -> None:
    assert len(running("local", "logs", "--lines", "2").out.splitlines()) == 2
    assert running("local", "logs", "--lines", "0").out == ""
    running("account", "list")
    assert "GET /v1/accounts" in running("local", "logs").out
    assert running("local", "logs", "../../auth").code == 2


def test_logs_follow_until_ctrl_c(running: Cli) -> None:
    argv = [sys.executable, "-m", "firectl", "local", "logs", "-f", "--lines", "1"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    running("account", "list")
    while "/v1/accounts" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


def test_an_empty_log_is_said_to_be_that(running: Cli) -> None:
    (running.home / "local" / "logs" / "quiet-0.log").touch()
    ran = running("local", "logs", "quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "the log of quiet-0 is empty\n")


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_serve_runs_in_the_foreground_and_ends_with_its_command(here: Cli, kind: signal.Signals, code: int) -> None:
    argv = [sys.executable, "-m", "firectl", "local", "serve"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while "The platform is at" not in process.stderr.readline():
            assert process.poll() is None
        url = here("local", "status", "-o", "json").json["url"]
        assert here("account", "list", "-o", "name").out == "accounts/local\n"
        second = here("local", "serve")
        assert (second.code, "a platform is running already" in second.err) == (2, True)
        process.send_signal(kind)
        assert process.wait(30) == code
        assert not is_open(url)
    finally:
        process.kill()
        process.communicate()


def test_models_are_imported_shown_fetched_and_deleted(running: Cli, folders: dict[str, Path], tmp_path: Path) -> None:
    made = running("-a", "fireworks", "-p", "local", "model", "create", "base", str(folders["base"]), "-o", "json")
    assert made.code == 0, made.err
    assert (made.json["name"], made.json["state"], made.json["kind"]) == (BASE, "READY", "HF_BASE_MODEL")
    assert made.err.splitlines()[-1].startswith("uploading 100% of ")

    flags = ["--base-model", BASE, "--display-name", "My LoRA", "--public=false"]
    ran = running("-p", "local", "model", "create", "lora", str(folders["lora"]), *flags)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[:5] == [
        "Name: accounts/local/models/lora",
        "Display Name: My LoRA",
        "Kind: HF_PEFT_ADDON",
        "State: READY",
        "Status:",
    ]
    assert f"  Base Model: {BASE}" in lines
    assert "  R: 8" in lines
    assert "Warning" not in ran.err

    assert running("-p", "local", "model", "list", "-o", "name").out == "accounts/local/models/lora\n"
    assert running("-p", "local", "model", "list", "-a", "fireworks", "-o", "name").out == f"{BASE}\n"
    assert running("-p", "local", "model", "get", "lora", "-o", "flag").out == (
        f"lora --base-model {BASE} --display-name 'My LoRA' --public=false\n"
    )
    changed = running("-p", "local", "model", "update", "lora", "--public", "--description", "d", "-o", "json")
    assert (changed.json["public"], changed.json["description"]) == (True, "d")

    fetched = running("-p", "local", "model", "download", "lora", str(tmp_path / "copy"), "-o", "name")
    assert fetched.out == "accounts/local/models/lora\n", fetched.err
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (folders["lora"] / name).read_bytes()

    again = running("-p", "local", "model", "create", "lora", str(folders["lora"]), "--base-model", BASE)
    assert (again.code, again.out) == (5, "")
    gone = running("-p", "local", "model", "delete", "lora")
    assert (gone.code, gone.out, gone.err) == (0, "", "Deleted accounts/local/models/lora\n")
    assert running("-p", "local", "model", "get", "lora").code == 3


def test_an_adapter_that_the_platform_refuses_leaves_no_row(
    running: Cli, folders: dict[str, Path], tmp_path: Path
) -> None:
    running("-a", "fireworks", "-p", "local", "model", "create", "base", str(folders["base"]))
    other = make_adapter(tmp_path / "other", make_base(tmp_path / "wide", hidden=128))
    argv = ["-p", "local", "model", "create", "other", str(other), "--base-model", BASE]
    ran = running(*argv)
    assert (ran.code, ran.out) == (2, ""), "what is compared here is refused here"
    ran = running(*argv, "--skip-checks")
    assert (ran.code, ran.out) == (6, "")
    assert running("-p", "local", "model", "list", "-o", "name").out == ""
