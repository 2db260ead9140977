"""`firectl local down`: it asks the platform to end, and signals a process only when that is surely the platform."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from firectl.cli.machine.process import until
from tests.cli.conftest import Cli
from tests.client.script_server import Received, Reply, ScriptServer, answer
from tests.ran import Ran

SLOWLY = 60
KILLED = "the platform does not stop: killing it\n"


@contextlib.contextmanager
def another_program() -> Iterator[psutil.Process]:
    """A program that is none of ours, created now."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield psutil.Process(process.pid)
        process.kill()


def local(cli: Cli, name: str) -> Path:
    return cli.home / "local" / name


def said_of_its_process(cli: Cli) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(local(cli, "process.json").read_text())
    return said


def the_platform(cli: Cli) -> psutil.Process:
    """The platform's process, as it says itself."""
    return psutil.Process(cli("local", "status", "-o", "json").json["pid"])


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: a process that nobody waited for keeps its ID when it has ended."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def ended(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=SLOWLY)
    return Ran(process.returncode, out, err)


def is_held(lock: Path) -> bool:
    """Asked of the operating system in a way that takes no lock."""
    with contextlib.suppress(FileNotFoundError):
        inode = f":{lock.stat().st_ino} "
        return any(inode in line for line in Path("/proc/locks").read_text().splitlines())
    return False


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """The process does not answer and cannot end by itself; it goes on afterwards, if it is there."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def is_refused(cli: Cli, down: Ran, found: str) -> None:
    lock = local(cli, "platform.lock")
    assert (down.code, down.out) == (7, "")
    assert down.err == (
        f"Error: a platform holds {lock} and does not answer. No process was ended, because the process of "
        f"the platform is not known: {found} (code = Unavailable)\n"
        f"Hint: lsof {lock} shows the process to end; or run firectl local down again once the platform answers\n"
    )


def test_a_platform_that_starts_slowly_is_ended_and_not_the_program_that_has_the_pid_of_the_one_before(
    here: Cli,
) -> None:
    assert here("local", "up").code == 0
    assert here("local", "down").code == 0
    before = said_of_its_process(here)
    database = sqlite3.connect(local(here, "platform.sqlite"), isolation_level=None)
    with another_program() as stranger, contextlib.closing(database):
        info = local(here, "platform.json")
        info.write_text(json.dumps(json.loads(info.read_text()) | {"pid": stranger.pid}))
        database.execute("BEGIN EXCLUSIVE")
        up = here.begin("local", "up")
        assert until(lambda: said_of_its_process(here) != before, SLOWLY)
        platform = psutil.Process(said_of_its_process(here)["pid"])
        down = here("local", "down")
        assert (down.code, down.err) == (0, KILLED)
        assert not is_alive(platform)
        assert is_alive(stranger)
        ran = ended(up)
    assert (ran.code, ran.out) == (1, "")
    assert "Error: the platform did not start: it was ended by signal 15, as firectl local down does" in ran.err


def test_without_a_creation_time_that_agrees_no_process_is_signalled(here: Cli) -> None:
    assert here("local", "up").code == 0
    platform, file = the_platform(here), local(here, "process.json")
    written = said_of_its_process(here)
    assert written == {"pid": platform.pid, "created": pytest.approx(platform.create_time(), abs=0.05)}
    with another_program() as stranger, stopped(platform):
        file.write_text(json.dumps({"pid": platform.pid}))
        found = f"{file} does not name it (platforms of older versions write no such file)"
        is_refused(here, here("local", "down"), found)
        file.write_text(json.dumps(written | {"pid": stranger.pid}))
        is_refused(here, here("local", "down"), f"process {stranger.pid}, which {file} names, has ended")
        assert is_alive(stranger)
    assert is_alive(platform)
    # As with a platform that writes no such file: it is asked.
    file.unlink()
    down = here("local", "down")
    assert (down.code, down.err) == (0, "")
    assert not is_alive(platform)


def test_a_platform_that_refuses_our_key_is_signalled(here: Cli) -> None:
    assert here("local", "up").code == 0
    platform = the_platform(here)
    local(here, "credentials.json").unlink()
    down = here("local", "down")
    assert (down.code, down.err) == (0, KILLED)
    assert not is_alive(platform)


def test_a_platform_of_another_home_on_the_port_of_a_killed_one_goes_on(here: Cli, tmp_path: Path) -> None:
    elsewhere = {"FIREWORKS_HOME": str(tmp_path / "elsewhere")}
    url = here("local", "up", "-o", "json").json["url"]
    the_platform(here).kill()
    port = url.rpartition(":")[2]
    assert until(lambda: here("local", "up", "--port", port, env=elsewhere).code == 0, SLOWLY)
    try:
        down = here("local", "down")
        assert (down.code, down.err) == (0, "no platform was running\n")
        assert here("local", "status", "-o", "json", env=elsewhere).json["url"] == url
    finally:
        assert here("local", "down", env=elsewhere).code == 0


@contextlib.contextmanager
def a_program_on_the_port(cli: Cli, said: Callable[[Received], Reply]) -> Iterator[ScriptServer]:
    """A program that answers at the address where the platform of this home ran last."""
    with contextlib.closing(ScriptServer(said)) as program:
        assert cli("local", "up").code == 0
        assert cli("local", "down").code == 0
        info = local(cli, "platform.json")
        info.write_text(json.dumps(json.loads(info.read_text()) | {"url": program.url}))
        yield program


def test_what_answers_on_the_port_of_a_platform_that_ended_never_gets_its_key(here: Cli) -> None:
    with a_program_on_the_port(here, lambda request: answer(200, {"status": "ok"})) as program:
        down = here("local", "down")
        assert (down.code, down.err) == (0, "no platform was running\n")
        assert here("local", "status", "-o", "json").json["state"] == "DOWN"
        assert here("account", "list").code != 0
        assert [request.path for request in program.received if "authorization" in request.headers] == []


def test_a_platform_whose_port_another_program_took_has_ended(here: Cli) -> None:
    def ends(request: Received) -> Reply:
        if request.path == "/v1/local:shutdown":
            lock.release()
        return answer(200, {"status": "ok"})

    with a_program_on_the_port(here, ends), FileLock(local(here, "platform.lock"), thread_local=False) as lock:
        down = here("local", "down")
        assert (down.code, down.err) == (0, "")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="sees who holds a lock in /proc")
@pytest.mark.parametrize("command", ["up", "serve"])
def test_down_while_a_platform_is_about_to_start_leaves_none_running(here: Cli, command: str) -> None:
    starting = here.begin("local", command)
    assert until(lambda: is_held(here.home / "local" / "up.lock"), SLOWLY)
    down = here("local", "down")
    assert (down.code, "no platform was running" in down.err) == (0, False)
    ran = ended(starting)
    assert here("local", "status", "-o", "json").json["state"] == "DOWN"
    assert not is_held(local(here, "platform.lock"))
    assert "Traceback" not in ran.err
