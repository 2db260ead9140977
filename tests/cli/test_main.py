"""How a command ends when something is wrong: the form of the error, the exit code, and nothing on stdout.

About `cli/main.py`; tests/cli/test_streams.py closes its streams.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firectl.errors import EXIT_OF_CODE, ApiError, Code, Exit
from firectl.schemas.words import Reason
from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import Api
from tests.client.script_server import HANG, answer

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"
GET = ("deployment", "get", "d1")
PATH = "/v1/accounts/acme/deployments/d1"


def test_the_docs_have_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", DOCS.read_text(), re.MULTILINE)
    assert {name: int(number) for number, name in rows} == {exit.name: exit.value for exit in Exit}


def test_the_docs_have_the_exit_code_of_every_code() -> None:
    rows = re.findall(r"^\| (\d) \| ((?:[A-Z_]+)(?:, [A-Z_]+)*)", DOCS.read_text(), re.MULTILINE)
    found = {name: int(number) for number, names in rows for name in names.split(", ") if name in Code.__members__}
    assert found == {code.name: EXIT_OF_CODE.get(code, Exit.FAILED).value for code in Code}


def test_the_docs_have_every_reason_of_an_inference_error() -> None:
    table = DOCS.read_text().split("<!-- inference -->")[1].split("<!-- end -->")[0]
    found = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if row else "")}
    reasons = {value for name, value in vars(Reason).items() if name.isupper()}
    uploads = {Reason.UPLOAD_SUPERSEDED, Reason.MODEL_FILES_SETTLED}
    assert found - set(Code.__members__) == reasons - uploads


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_an_error_of_the_server_has_its_message_and_its_exit_code(cli: Cli, api: Api, code: Code) -> None:
    body = {"code": code.number, "message": "no such luck", "details": []}
    api.on("GET", PATH, answer(code.http_status, body, {"x-should-retry": "false"}))
    ran = cli(*GET)
    assert (ran.code, ran.out) == (EXIT_OF_CODE.get(code, Exit.FAILED), "")
    assert ran.err.splitlines()[0] == f"Error: no such luck (code = {code.title})"


def test_json_errors_are_one_line_on_stderr_with_all_that_is_known(cli: Cli, api: Api) -> None:
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "domain": "firectl",
        "reason": "NOT_FOUND",
        "metadata": {"hint": "firectl deployment list"},
    }
    body = {"code": 5, "message": "d1 was not found", "details": [detail]}
    api.on("GET", PATH, answer(404, body, {"x-request-id": "r-1"}))
    ran = cli(*GET, "-o", "json")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.count("\n") == 1
    assert json.loads(ran.err) == {
        "error": {
            "code": "NOT_FOUND",
            "message": "d1 was not found",
            "hint": "firectl deployment list",
            "request_id": "r-1",
            "http_status": 404,
        }
    }


@pytest.mark.parametrize("flags", [["-o", "json"], ["-ojson"], ["--output=json"], ["--output", "json"], ["-o=json"]])
def test_a_command_line_that_breaks_before_the_format_is_read_is_still_answered_in_json(
    cli: Cli, flags: list[str]
) -> None:
    unread = cli("deployment", "create", "m", "--deployment-id", "x" * 64, *flags)
    assert (unread.code, unread.out) == (2, "")
    assert json.loads(unread.err)["error"]["code"] == "INVALID_ARGUMENT"
    ran = cli("deployment", "get", "--nonsense", *flags)
    assert (ran.code, ran.out) == (2, "")
    assert json.loads(ran.err)["error"] == {
        "code": "INVALID_ARGUMENT",
        "message": "firectl deployment get has no flag '--nonsense'",
        "hint": "firectl deployment get --help",
    }


def test_an_error_that_spans_lines_or_holds_escapes_stays_on_its_line(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, answer(400, {"code": 3, "message": "bad\nHint: rm -rf ~\x1b[31m"}))
    ran = cli(*GET)
    assert ran.err.splitlines()[0] == "Error: bad Hint: rm -rf ~\\x1b[31m (code = InvalidArgument)"
    assert ran.err.splitlines()[1:] == ["Hint: firectl deployment get --help"]


def test_a_server_that_cannot_be_reached_is_try_again_later(cli: Cli) -> None:
    ran = cli("-s", "127.0.0.1:1", "-a", "acme", "--api-key", KEY, *GET)
    assert (ran.code, ran.out) == (7, "")
    assert ran.err.startswith("Error: cannot reach http://127.0.0.1:1: connection refused (code = Unavailable)\n")


def test_a_server_that_never_answers_is_given_up_in_time(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, HANG)
    ran = cli.process(*GET, "--timeout", "300ms", timeout=20)
    assert (ran.code, ran.out) == (7, "")
    assert "(code = DeadlineExceeded)" in ran.err


def test_a_mistake_of_ours_is_called_that_and_its_traceback_is_a_flag_away(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, {"name": "accounts/acme/deployments/d1"})
    script = (
        "from firectl.cli.output import output\n"
        "def broken(*_): raise ZeroDivisionError(f'with {key} in it')\n"
        f"key = {KEY!r}\n"
        "output.Output.emit = broken\n"
        "from firectl.cli.main import main\n"
        "main()"
    )

    def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, *argv]
        return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)

    quiet = run(*GET)
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert quiet.stderr == (
        "Error: internal error: ZeroDivisionError (code = Internal)\n"
        "Hint: run it again with --verbose (or FIRECTL_DEBUG=1) to see the traceback\n"
    )
    for loud in (run(*GET, "--verbose"), run(*GET, FIRECTL_DEBUG="1")):
        assert "Traceback (most recent call last):" in loud.stderr
        assert "ZeroDivisionError: with [key] in it" in loud.stderr
        assert loud.stderr.endswith("Error: internal error: ZeroDivisionError (code = Internal)\n")
        assert KEY not in loud.stderr + loud.stdout


def test_ctrl_c_is_130_within_a_second_and_says_what_still_runs(cli: Cli, api: Api) -> None:
    made = {"name": "accounts/acme/deployments/d1", "state": "CREATING", "baseModel": "accounts/acme/models/m"}
    api.on("POST", "/v1/accounts/acme/deployments", made)
    api.on("GET", PATH, made)
    argv = [sys.executable, "-m", "firectl", "deployment", "create", "m", "--deployment-id", "d1", "--wait"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "CREATING" in process.stderr.readline()
    interrupted = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert time.monotonic() - interrupted < 1
    assert (process.returncode, out) == (130, "")
    assert err == (
        "accounts/acme/deployments/d1 keeps running. "
        "To stop it: firectl deployment delete accounts/acme/deployments/d1\n"
        "Error: interrupted (code = Cancelled)\n"
    )


def test_a_closed_pipe_ends_quietly(cli: Cli, api: Api) -> None:
    rows = [{"name": f"accounts/acme/models/m{number}", "state": "READY"} for number in range(3000)]
    api.on("GET", "/v1/accounts/acme/models", {"models": rows})
    script = f"{sys.executable} -m firectl model list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[0].startswith("NAME")
    assert done.stdout.splitlines()[1] == "0"
    assert done.stderr == ""


def test_closed_descriptors_are_no_crash(cli: Cli) -> None:
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m firectl version >&- 2>&-; echo $?"], capture_output=True)
    assert done.stdout == b"1\n"


def test_a_file_that_cannot_be_read_is_named(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "create", "m", "--file", "missing.json", "--dry-run")
    assert (ran.code, ran.err) == (2, "Error: missing.json: no such file or directory (code = InvalidArgument)\n")


def test_a_warning_survives_quiet_and_a_hint_does_not(cli: Cli, api: Api) -> None:
    row = {"name": "accounts/acme/models/m"}
    api.on("GET", "/v1/accounts/acme/models", {"models": [row], "nextPageToken": "next", "totalSize": 2})
    assert cli("model", "list").err == "1 of 2 shown; more with --page-token next or --no-paginate\n"
    assert cli("model", "list", "--quiet").err == ""
    ran = cli("set-api-key", "fw_x", "--quiet")
    assert ran.err.startswith("Warning: a key on the command line can be seen by other users")


def test_412_is_a_conflict_with_any_code() -> None:
    assert ApiError(Code.UNKNOWN, "suspended", http_status=412).exit_code is Exit.CONFLICT
