"""Child processes: how they end, with their own children, and what they get to see."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Coroutine
from pathlib import Path

import psutil
import pytest

from firectl.errors import Code
from firectl.server.replicas.process import child_environment, end, error_in, signal_group, start
from tests.server.replicas.platform import wait
from tests.server.replicas.test_restart import all_ended

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(input())"])
print(child.pid, flush=True)
"""
"""Prints the ID of its own child, and ends. Its child sends one line back."""


def with_child(code: str, story: Callable[[Process, bytes], Coroutine[None, None, None]]) -> None:
    """Start Python with `code`; the story gets the process and the first line that it printed."""

    async def run() -> None:
        child = await start([sys.executable, "-c", code], Path.cwd(), os.environ, DEVNULL)
        assert child.stdin is not None
        assert child.stdout is not None
        await story(child, await child.stdout.readline())
        child.stdin.close()
        await child.stdout.read()

    asyncio.run(run())


@pytest.mark.parametrize(("code", "number"), [(SLEEP, signal.SIGTERM), (STUBBORN, signal.SIGKILL)])
def test_a_child_is_asked_to_end_and_then_killed(code: str, number: signal.Signals) -> None:
    async def story(child: Process, _: bytes) -> None:
        await end(child, 5.0 if number is signal.SIGTERM else 0.1)
        assert child.returncode == -number

    with_child(code, story)


def test_the_childs_own_children_end_with_it() -> None:
    async def story(child: Process, line: bytes) -> None:
        grandchild = psutil.Process(int(line))
        await end(child, 5.0)
        wait(lambda: all_ended([grandchild]))

    with_child(f"{PARENT}child.wait()", story)


def test_a_process_group_whose_leader_was_reaped_is_not_signalled() -> None:
    """The system may reuse its ID; a process that is still in the group stands for one in the other group."""

    async def story(child: Process, _: bytes) -> None:
        # Not `wait()`, which also waits for the pipes that the other process holds.
        while child.returncode is None:
            await asyncio.sleep(0.01)
        signal_group(child, signal.SIGKILL)
        await end(child, 0.1)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"still here\n")
        assert await child.stdout.readline() == b"still here\n"

    with_child(PARENT, story)


def test_a_child_gets_the_environment_without_secrets_and_with_absolute_paths() -> None:
    given = {
        "PATH": "/bin",
        "HF_TOKEN": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "db_password": "x",
        "FIREWORKS_BASE_URL": "x",
        "PYTHONPATH": "src",
    }
    assert child_environment(given, OMP_NUM_THREADS="2") == {
        "PATH": "/bin",
        "PYTHONPATH": os.path.abspath("src"),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "2",
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"error": {"message": "no weights"}}', ("no weights", Code.INTERNAL)),
        ('{"error": {"code": 15, "message": "damaged"}}', ("damaged", Code.DATA_LOSS)),
        ('{"error": "no weights"}', ("no weights", Code.INTERNAL)),
        ('{"error": {}}', None),
        ('{"port": 1}', None),
        ("{not JSON", None),
        ("error", None),
    ],
)
def test_only_an_error_document_has_a_message_and_a_code(line: str, said: tuple[str, Code] | None) -> None:
    error = error_in(line)
    assert (error and (error.message, error.code)) == said
