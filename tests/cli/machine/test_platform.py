"""`cli/machine/platform.py`: a real platform that is started, found again, lost and killed."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from firectl.cli.machine.process import until
from tests.cli.conftest import Cli


def pid(cli: Cli) -> int:
    """The platform's process, as it says itself: the one in a file may have ended."""
    return int(cli("local", "status", "-o", "json").json["pid"])


def test_a_killed_platform_is_down_and_comes_back_where_it_was(here: Cli) -> None:
    url = here("local", "up", "-o", "json").json["url"]
    os.kill(pid(here), signal.SIGKILL)
    assert until(lambda: here("local", "status", "-o", "json").json["state"] == "DOWN", 10)
    env = here("local", "env")
    assert (env.code, env.out) == (2, "")
    assert env.err == f"Error: no platform runs in {here.home} (code = InvalidArgument)\nHint: firectl local up\n"
    status = here("local", "status")
    assert (status.code, status.err) == (0, f"no platform runs in {here.home}; to start one: firectl local up\n")
    up = here("local", "up", "-o", "json")
    assert up.code == 0, up.err
    assert up.json["url"] == url


@pytest.mark.slow
def test_a_platform_that_hangs_is_killed_in_the_end(here: Cli) -> None:
    url = here("local", "up", "-o", "json").json["url"]
    os.kill(pid(here), signal.SIGSTOP)
    assert here("local", "status", "-o", "json").json["state"] == "DOWN"
    up = here("local", "up")
    assert (up.code, up.out) == (7, "")
    assert up.err.startswith("Error: a platform holds this folder and does not answer (code = Unavailable)\n")
    down = here("local", "down")
    assert (down.code, down.err) == (0, "the platform does not stop: killing it\n")
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
        assert ran.err.startswith(f"port {port}, which the platform had, is in use now: it gets another one\n")
        assert ran.json["url"] != info["url"]
        assert ran.json["account"] == "mine", "it keeps its account"
        ran = here("local", "up", "-a", "other")
        assert (ran.code, ran.out) == (2, "")
        assert "belongs to the account 'mine', not 'other'" in ran.err


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


def test_logs_are_its_last_lines(running: Cli) -> None:
    assert len(running("local", "logs", "--lines", "2").out.splitlines()) == 2
    assert running("local", "logs", "--lines", "0").out == ""
    running("account", "list")
    assert "GET /v1/accounts" in running("local", "logs").out
    assert running("local", "logs", "../../auth").code == 2


def test_an_empty_log_is_said_to_be_that(running: Cli) -> None:
    (running.home / "local" / "logs" / "quiet-0.log").touch(0o600)
    ran = running("local", "logs", "quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "the log of quiet-0 is empty\n")
