"""`cli/local/commands.py`: the profile, the variables for a shell, the disk and the logs."""

from __future__ import annotations

import json
import shlex
import signal
import stat
from pathlib import Path

from tests.cli.conftest import Cli


def pid(cli: Cli) -> int:
    """The platform's process, as it says itself: the one in a file may have ended."""
    return int(cli("local", "status", "-o", "json").json["pid"])


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


def test_two_at_once_start_one_platform(here: Cli) -> None:
    argv = ["local", "up", "-o", "json"]
    both = [here.begin(*argv) for _ in range(2)]
    urls = [json.loads(process.communicate(timeout=60)[0])["url"] for process in both]
    assert urls[0] == urls[1]


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


def test_logs_follow_until_ctrl_c(running: Cli) -> None:
    argv = ["local", "logs", "-f", "--lines", "1"]
    process = running.begin(*argv)
    assert process.stdout is not None
    assert process.stdout.readline()
    running("account", "list")
    while "/v1/accounts" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")
