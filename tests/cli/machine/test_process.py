"""Processes, ports, locks and log files on this machine."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from firectl.cli.machine.process import (
    any_port,
    ask,
    end_process,
    ended_by_signals,
    environment,
    is_free,
    is_locked,
    port_of,
    same_process,
    signal_until,
    tail,
    until,
)
from firectl.errors import NetworkError


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for its standard input and ignores SIGTERM once it has said so."""
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_environment_of_the_platform_has_no_secret_and_absolute_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("MY_TOKEN", "t"), ("db_password", "p"), ("PLAIN", "x"), ("PYTHONPATH", "src:/other")):
        monkeypatch.setenv(name, value)
    kept = environment()
    assert (kept["PLAIN"], kept["PYTHONPATH"]) == ("x", f"{tmp_path}/src:/other")
    assert not {"MY_TOKEN", "db_password"} & kept.keys()


def test_a_lock_is_seen_to_be_held_and_to_be_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with FileLock(path):
        assert is_locked(path)
        assert is_locked(path), "to look takes no lock"
    path.touch()
    assert not is_locked(path)


def test_a_port_is_free_until_it_is_bound() -> None:
    import socket

    port = any_port()
    assert is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    assert is_free(port)
    assert (port_of("http://127.0.0.1:8080"), port_of("http://host")) == (8080, 80)


def test_a_tail_has_the_last_lines_of_a_file() -> None:
    file = io.BytesIO(b"one\ntwo\nthr\xffee")
    assert [tail(file, lines) for lines in (0, 1, 2, 9)] == ["", "thr�ee", "two\nthr�ee", "one\ntwo\nthr�ee"]


def test_a_condition_is_awaited_for_a_limited_time() -> None:
    answers = iter([False, False, True])
    assert until(lambda: next(answers), 5)
    assert not until(lambda: False, 0)


def test_a_process_is_known_by_its_id_and_its_creation_time() -> None:
    here = psutil.Process()
    assert same_process(here.pid, here.create_time()) == here
    assert same_process(here.pid, here.create_time() - 1) is None
    assert same_process(2**22 + 1, 0.0) is None


def test_a_process_that_ignores_sigterm_is_killed(child: subprocess.Popen[bytes]) -> None:
    signal_until(psutil.Process(child.pid), lambda: child.poll() is not None, 0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_child_is_ended_and_one_that_has_ended_is_left_alone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    end_process(child)
    assert child.returncode == -signal.SIGTERM
    end_process(child)
    child.communicate()


def test_sigterm_interrupts_the_block_after_the_handler_that_was_there() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: heard.append(signum))
    try:
        with pytest.raises(KeyboardInterrupt), ended_by_signals():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM, signal.SIGTERM]


def test_a_platform_that_does_not_answer_is_a_network_error() -> None:
    port = any_port()
    with pytest.raises(NetworkError, match=f"the platform at http://127.0.0.1:{port} does not answer"):
        ask(f"http://127.0.0.1:{port}", "GET", "/health", None)
