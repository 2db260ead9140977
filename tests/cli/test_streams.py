"""Standard streams that the caller closed, as cron may, and Ctrl-C before anything ran: never a traceback."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.ran import Ran

DEPLOYMENT = "accounts/acme/deployments/d"


def shell(words: str, streams: str) -> Ran:
    command = f"{shlex.quote(sys.executable)} -m firectl {words} {streams}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("stdin", ["<&-", "</dev/null"])
@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("chat m#d -", "message"),
        ("chat m#d", "message"),
        ("set-api-key -", "key"),
        ("route check --request -", "request"),
    ],
)
def test_a_closed_stdin_is_an_empty_one(cli: Cli, api: Api, words: str, what: str, stdin: str) -> None:
    ran = shell(words, stdin)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"Error: no {what}: stdin is empty (code = InvalidArgument)\nHint: firectl ")


def test_nobody_is_asked_where_stdin_is_closed(cli: Cli, api: Api) -> None:
    api.on("GET", f"/v1/{DEPLOYMENT}", {"name": DEPLOYMENT, "state": "READY"})
    api.on("DELETE", f"/v1/{DEPLOYMENT}", {})
    ran = shell("deployment delete d", "<&-")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith(f"Deleted {DEPLOYMENT}\n")


@pytest.mark.parametrize("words", ["deployment get d", "version", "deployment --help"])
def test_a_result_that_cannot_be_written_is_a_failure(cli: Cli, api: Api, words: str) -> None:
    api.on("GET", f"/v1/{DEPLOYMENT}", {"name": DEPLOYMENT, "state": "READY"})
    closed = shell(words, "<&- >&-")
    assert (closed.code, closed.out) == (1, "")
    assert closed.err == "Error: stdout is closed: there is nowhere to write the result (code = Internal)\n"
    full = shell(words, ">/dev/full")
    assert (full.code, full.err) == (1, "Error: no space left on device (code = Internal)\n")


def test_what_writes_no_result_needs_no_stdout(cli: Cli, api: Api) -> None:
    api.on("GET", f"/v1/{DEPLOYMENT}", {"name": DEPLOYMENT, "state": "READY"})
    api.on("DELETE", f"/v1/{DEPLOYMENT}", {})
    assert shell("deployment delete d", ">&-").code == 0
    assert shell("deployment delete d", "<&- >&- 2>&-").code == 0
