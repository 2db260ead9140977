"""In a terminal progress is live, and a command that deletes asks first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.model_server import REPLIES
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

pty = pytest.importorskip("pty", reason="no terminals on this system")

NAME = "accounts/acme/deployments/d1"
PATH = f"/v1/{NAME}"
UNDELETE = f"To bring it back: firectl deployment undelete {NAME}"


@pytest.fixture
def terminal(cli: Cli) -> Callable[..., tuple[int, str]]:
    """Runs firectl in a terminal of 200 columns, typing `keys` into it; the exit code and all output."""

    def run(*argv: str, keys: str = "") -> tuple[int, str]:
        screen, end = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "firectl", *argv],
            stdin=end,
            stdout=end,
            stderr=end,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
        )
        os.close(end)
        written = b""
        try:
            while piece := os.read(screen, 4096):
                written += piece
                if keys and (b"[y/N]" in written or b"[1]" in written):
                    os.write(screen, keys.encode())
                    keys = ""
        except OSError:
            pass  # how Linux says that the other end is closed
        os.close(screen)
        return process.wait(30), written.decode().replace("\r\n", "\n")

    return run


def test_delete_asks_and_no_is_no(terminal: Callable[..., tuple[int, str]], api: Api) -> None:
    code, screen = terminal("deployment", "delete", "d1", keys="n\n")
    assert code == 1
    assert f"Delete {NAME}? [y/N]: n\n" in screen
    assert screen.endswith("Error: not confirmed: nothing was changed (code = Cancelled)\n")
    assert api.changes == []


def test_delete_asks_and_yes_is_yes(terminal: Callable[..., tuple[int, str]], api: Api) -> None:
    api.on("DELETE", PATH, {})
    code, screen = terminal("deployment", "delete", "d1", keys="y\n")
    assert (code, screen.splitlines()[-2:]) == (0, [f"Deleted {NAME}", UNDELETE])


def test_yes_on_the_command_line_is_an_answer(terminal: Callable[..., tuple[int, str]], api: Api) -> None:
    api.on("DELETE", PATH, {})
    assert terminal("deployment", "delete", "d1", "--yes") == (0, f"Deleted {NAME}\n{UNDELETE}\n")


def test_a_wait_is_live_and_leaves_each_change_behind(terminal: Callable[..., tuple[int, str]], api: Api) -> None:
    api.on("DELETE", PATH, {})
    api.on("GET", PATH, *({"name": NAME, "state": state} for state in ("READY", "DELETING", "DELETED")))
    code, screen = terminal("deployment", "delete", "d1", "--yes", "--wait", "--no-color")
    assert code == 0
    assert f"{NAME}: DELETING, 0 replicas ready\n" in screen
    assert "\x1b[?25h" in screen, "the cursor is shown again"
    assert screen.endswith(f"Deleted {NAME}\n{UNDELETE}\n")


def test_a_table_is_not_cut_to_the_screen(terminal: Callable[..., tuple[int, str]], api: Api) -> None:
    long = f"accounts/acme/models/{'m' * 63}"
    rows = [{"name": long, "peftDetails": {"baseModel": long}, "displayName": "x" * 60}]
    api.on("GET", "/v1/accounts/acme/models", {"models": rows})
    code, screen = terminal("model", "list")
    assert code == 0
    assert screen.count(long) == 2
    assert Path(long).name in screen.splitlines()[1]


def test_without_a_shape_a_person_picks_one_and_enter_is_the_first(
    terminal: Callable[..., tuple[int, str]], api: Api
) -> None:
    model = "accounts/acme/models/m"
    versions = [
        {"name": f"accounts/acme/deploymentShapes/{shape}/versions/1", "validated": True,
         "snapshot": {"baseModel": model, "precision": precision}}
        for shape, precision in (("quick", "FP8"), ("plain", "BF16"))
    ]  # fmt: skip
    api.hosted()
    api.on("GET", f"/v1/{model}", {"name": model})
    api.on("GET", "/v1/accounts/acme/deploymentShapes/-/versions", {"deploymentShapeVersions": versions})
    api.on("POST", "/v1/accounts/acme/deployments", {"name": NAME})
    for keys, chosen in (("\n", 0), ("2\n", 1)):
        code, screen = terminal("deployment", "create", "m", keys=keys)
        assert code == 0
        assert "  1  accounts/acme/deploymentShapes/quick/versions/1 (FP8)\n" in screen
        assert "  2  accounts/acme/deploymentShapes/plain/versions/1 (BF16)\nDeploy on which shape [1]: " in screen
        assert api.changes[-1].json["deploymentShape"] == versions[chosen]["name"]


def test_a_load_fills_a_table_and_leaves_the_report_alone(terminal: Callable[..., tuple[int, str]], api: Api) -> None:
    api.on("POST", "/inference/v1/chat/completions", REPLIES["whole"], REPLIES["good"])
    code, screen = terminal("bench", "m#d", "--requests", "4", "--no-color")
    assert code == 0
    assert "first token ms" in screen
    assert "\x1b[?25h" in screen, "the cursor is shown again"
    report = screen[screen.rindex("\x1b") :]
    assert "\nm#d     1 stream  4         0 " in report
