"""`cli/commands/machine/local.py`: each verb against a real platform, as a person would type it."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.cli.conftest import Cli


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
    assert (second.json, second.err) == (first.json, f"The platform is already running\n{first.err}")
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


def test_without_a_platform_there_is_no_log_and_nobody_to_go_to(here: Cli) -> None:
    empty = here("local", "logs")
    assert (empty.code, empty.out) == (2, "")
    assert empty.err == (
        f"Error: no platform has run here yet: {here.home}/local holds no log (code = InvalidArgument)\n"
        "Hint: firectl local up\n"
    )
    assert here("account", "list").code == 2


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_serve_runs_in_the_foreground_and_ends_with_its_command(here: Cli, kind: signal.Signals, code: int) -> None:
    argv = ["local", "serve"]
    process = here.begin(*argv)
    assert process.stderr is not None
    try:
        while "The platform is at" not in process.stderr.readline():
            assert process.poll() is None
        url = here("local", "status", "-o", "json").json["url"]
        assert here("account", "list", "-o", "name").out == "accounts/local\n"
        second = here("local", "serve")
        assert (second.code, "a platform is already running" in second.err) == (2, True)
        process.send_signal(kind)
        assert process.wait(30) == code
        assert not is_open(url)
    finally:
        process.kill()
        process.communicate()
