"""What is killed comes back, what is stopped is gone: engines, the platform, `local down`."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import psutil
import pytest
from openai import APIError, OpenAI

from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell
from tests.e2e.test_tutorial import recorded

ROUTE = "accounts/local/models/sample-poet#accounts/local/deployments/shared"


def await_that(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true within {seconds} s"
        time.sleep(0.1)


def descendants(shell: Shell) -> list[psutil.Process]:
    """The platform of this home and every process under it."""
    root = psutil.Process(pid_of(shell))
    return [root, *root.children(recursive=True)]


def pid_of(shell: Shell) -> int:
    """The platform's process, as it says itself: the one in a file may have ended."""
    return int(shell.ok("local", "status", "-o", "json").json["pid"])


def engines(shell: Shell) -> list[psutil.Process]:
    return [process for process in descendants(shell) if "firectl.engine" in " ".join(process.cmdline())]


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=0.1)[1]


def voice(shell: Shell) -> str:
    ran = shell.firectl("chat", ROUTE, "Hello!", "--temperature", "0")
    return ran.out.strip()


@pytest.fixture(scope="module")
def shared(platform: Shell) -> Shell:
    platform.ok("deployment", "create", BASE, "--enable-addons", "--deployment-id", "shared", "--wait")
    platform.ok("load-lora", "sample-poet", "--deployment", "shared", "--wait")
    platform.ok("load-lora", "sample-pirate", "--deployment", "shared", "--wait")
    return platform


def test_a_killed_engine_fails_its_streams_at_once_and_comes_back_with_its_adapters(shared: Shell) -> None:
    client = OpenAI(
        base_url=shared.env["FIREWORKS_BASE_URL"] + "/inference/v1",
        api_key=shared.env["FIREWORKS_API_KEY"],
        max_retries=0,
    )
    stream = client.chat.completions.create(
        model=ROUTE,
        messages=[{"role": "user", "content": "Hello!"}],
        max_tokens=900,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    ended: list[BaseException | None] = []

    def read_on() -> None:
        try:
            for _ in stream:
                pass
            ended.append(None)
        except Exception as error:
            ended.append(error)

    reader = threading.Thread(target=read_on)
    reader.start()
    [victim] = engines(shared)
    victim.kill()
    reader.join(10)
    assert not reader.is_alive(), "the stream hangs after its engine was killed"
    assert isinstance(ended[0], APIError), ended
    assert "replica" in str(ended[0])

    states = set()

    def back() -> bool:
        row = shared.ok("deployment", "get", "shared", "-o", "json").json
        states.add((row["state"], row.get("status", {}).get("message", "")))
        return bool(row["state"] == "READY" and row["replica_stats"]["ready_replica_count"] == 1)

    await_that(back)
    assert any("killed by signal 9" in message for _, message in states), states
    assert voice(shared) == recorded("poet")


def test_a_killed_platform_leaves_no_process_and_comes_back_with_everything(shared: Shell) -> None:
    before = descendants(shared)
    assert len(before) > 1
    os.kill(pid_of(shared), signal.SIGKILL)
    await_that(lambda: gone(before), 15)
    assert shared.firectl("deployment", "list").code == 7

    shared.ok("local", "up")
    await_that(lambda: voice(shared) == recorded("poet"))
    rows = shared.ok("deployed-model", "list", "-o", "json").json
    await_that(lambda: {r["state"] for r in shared.ok("deployed-model", "list", "-o", "json").json} == {"DEPLOYED"})
    assert len(rows) == 3


def test_down_leaves_no_process_and_no_open_port_and_up_serves_the_same_again(shared: Shell) -> None:
    before = descendants(shared)
    ports = {
        connection.laddr.port for p in before for connection in p.net_connections() if connection.status == "LISTEN"
    }
    address = urlsplit(shared.env["FIREWORKS_BASE_URL"])
    assert address.port in ports
    shared.ok("local", "down")
    await_that(lambda: gone(before), 5)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still open"

    up = shared.ok("local", "up")
    assert " starting: firectl deployment list" in up.err
    assert f":{address.port}" in shared.ok("local", "env").out
    await_that(lambda: voice(shared) == recorded("poet"))
    log = shared.ok("local", "logs", "shared").out
    for said in ("INFO starting accounts/fireworks/models/", "INFO ready after ", "INFO loaded accounts/local/models/"):
        assert said in log


def test_up_twice_is_one_platform_and_down_twice_is_no_error(shared: Shell) -> None:
    shared.ok("local", "up")
    pid = pid_of(shared)
    shared.ok("local", "up")
    assert pid_of(shared) == pid
    shared.ok("local", "down")
    shared.ok("local", "down")
    assert shared.ok("local", "status", "-o", "json").json["state"] == "DOWN"
