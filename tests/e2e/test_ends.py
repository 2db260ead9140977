"""Nobody waits for a parked deployment, and scaling to zero is done only when no process is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell

PARKED = "accounts/local/deployments/parked"
STREAMS = 16
UNPARK = f"firectl deployment update {PARKED} --max-replica-count 1"


@pytest.fixture(scope="module")
def parked(platform: Shell) -> Shell:
    platform.ok(
        "deployment", "create", BASE, "--deployment-id", "parked", "--enable-addons", "--max-replica-count", "0"
    )
    return platform


@pytest.mark.parametrize(
    "argv",
    [
        ("chat", PARKED, "hi"),
        ("load-lora", "sample-pirate", "--deployment", "parked", "--wait"),
    ],
)
def test_nobody_waits_for_what_is_parked(parked: Shell, argv: tuple[str, ...]) -> None:
    began = time.monotonic()
    ran = parked.firectl(*argv, "-o", "json")
    assert time.monotonic() - began < 10
    error = json.loads(ran.err.splitlines()[-1])["error"]
    assert (ran.code, error["hint"]) == (5, UNPARK), ran.err
    assert "parked" in error["message"]


def engines(shell: Shell) -> list[psutil.Process]:
    record = json.loads((shell.home / "local" / "platform.json").read_text())
    children = psutil.Process(record["pid"]).children(recursive=True)
    return [child for child in children if "firectl.engine" in child.cmdline()]


def test_scaling_to_zero_is_waited_for_until_the_last_answer_is_whole_and_no_process_is_left(platform: Shell) -> None:
    platform.ok("deployment", "create", BASE, "--deployment-id", "busy", "--wait", "--no-probe")
    name = "accounts/local/deployments/busy"
    body = {"model": name, "prompt": "Once", "max_tokens": 900, "ignore_eos": True, "stream": True}
    headers = {"Authorization": f"Bearer {platform.env['FIREWORKS_API_KEY']}"}
    url = platform.env["FIREWORKS_BASE_URL"] + "/inference/v1/completions"
    begun: list[int] = []

    def complete(number: int) -> str:
        with httpx.stream("POST", url, json=body, headers=headers, trust_env=False, timeout=120) as response:
            lines = [line for line in _noted(response.iter_lines(), number, begun) if line]
        return lines[-1]

    # So many and so long that they outlast the start of the next command, on a machine with nothing else to do too.
    with ThreadPoolExecutor(STREAMS) as pool:
        answers = [pool.submit(complete, number) for number in range(STREAMS)]
        while len(begun) < STREAMS:
            time.sleep(0.05)
        scaled = platform.ok("deployment", "scale", "busy", "--replica-count", "0", "--wait", "-o", "json")
        assert engines(platform) == []
        assert {answer.result() for answer in answers} == {"data: [DONE]"}
    assert "finishing its answers" in scaled.err
    row: dict[str, Any] = scaled.json
    assert (row["replica_count"], row["status"]["message"]) == (0, "scaled to zero")


def _noted(lines: Iterator[str], number: int, begun: list[int]) -> Iterator[str]:
    """The lines, `number` put down when the first has come."""
    for position, line in enumerate(lines):
        if position == 0:
            begun.append(number)
        yield line
