"""Ctrl-C or SIGTERM before the server answers: the possible effect is named, and what undoes it.

About `cli/in_flight.py`.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import HANG, answer
from tests.tiny import make_adapter, make_base

ACME = "/v1/accounts/acme"
D, M, BASE = "accounts/acme/deployments/d1", "accounts/acme/models/m", "accounts/acme/models/base"
PAUSE = answer(503, {"code": 14, "message": "busy"}, {"retry-after": "30"})
"""The next try follows in half a minute."""


def cut_off(api: Api, argv: str, kind: signal.Signals = signal.SIGINT) -> tuple[int, list[str]]:
    """(exit code, lines of stderr) of a command that gets a signal after its first changing request."""
    before = len(api.changes)
    command = [sys.executable, "-m", "firectl", *shlex.split(argv)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    api.server.until(lambda _: len(api.changes) > before)
    sent = time.monotonic()
    process.send_signal(kind)
    out, err = process.communicate(timeout=10)
    assert time.monotonic() - sent < 1
    assert out == ""
    return process.returncode, err.splitlines()


@pytest.mark.parametrize(
    ("argv", "request_line", "left"),
    [
        (f"deployment create {BASE} --deployment-id d1", f"POST {ACME}/deployments",
         f"{D} may have been created. To stop it: firectl deployment delete {D}"),
        ("deployment undelete d1 --wait", f"POST /v1/{D}:undelete",
         f"{D} may have been restored. To stop it: firectl deployment delete {D}"),
        ("deployment update d1 --max-replica-count 2", f"PATCH /v1/{D}",
         f"{D} may have been changed. To see: firectl deployment get {D}"),
        ("scale d1 --replica-count 2 --wait", f"PATCH /v1/{D}:scale",
         f"{D} may be scaling to 2. To see its progress: firectl deployment get {D}; "
         f"to stop it: firectl deployment scale {D} --replica-count 0"),
        ("deployment delete d1 --yes", f"DELETE /v1/{D}",
         f"{D} may have been deleted. To see: firectl deployment get {D}; "
         f"to bring it back: firectl deployment undelete {D}"),
        ("load-lora m --deployment d1 --wait", f"POST {ACME}/deployedModels",
         f"{M} may have been loaded onto {D}. To undo it: firectl unload-lora {M} --deployment {D}"),
        ("unload-lora m --deployment d1", f"DELETE {ACME}/deployedModels/x",
         f"{M} may have been unloaded from {D}. To see whether it is gone: firectl deployed-model list"),
        ("model create m lora", f"POST {ACME}/models",
         f"{M} may have been created, without its files. To continue: firectl model upload {M} lora; "
         f"to delete it: firectl model delete {M}"),
        ("api-key create --user u", f"POST {ACME}/users/u/apiKeys",
         "an API key may have been created, and was not shown. To find it: firectl api-key list --user u"),
    ],
    ids=lambda value: value.partition(" -")[0] if "firectl" not in value else "",
)  # fmt: skip
def test_what_may_have_been_done_is_named(
    cli: Cli, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: str, request_line: str, left: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_base(tmp_path / "base")
    make_adapter(tmp_path / "lora", tmp_path / "base")
    row = {"name": "accounts/acme/deployedModels/x", "model": M, "deployment": D, "state": "DEPLOYED"}
    api.on("GET", f"{ACME}/deployedModels", {"deployedModels": [row]})
    method, _, path = request_line.partition(" ")
    api.on(method, path, HANG)
    if argv.startswith("model create"):
        api.offer(BASE, tmp_path / "base")
        argv += f" --base-model {BASE}"
    assert cut_off(api, argv) == (130, [left, "Error: interrupted (code = Cancelled)"])


@pytest.mark.parametrize("reply", [HANG, PAUSE], ids=["no answer", "pause before the next try"])
@pytest.mark.parametrize("flags", ["", "--wait"])
def test_a_deployment_with_a_generated_id_is_named_with_its_cost(cli: Cli, api: Api, reply: Any, flags: str) -> None:
    api.hosted()
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL"})
    shape = {"name": "accounts/acme/deploymentShapes/s/versions/1", "snapshot": {"baseModel": BASE}, "validated": True}
    api.on("GET", f"{ACME}/deploymentShapes/-/versions", {"deploymentShapeVersions": [shape]})
    api.on("POST", f"{ACME}/deployments", reply)
    code, lines = cut_off(api, f"deployment create {BASE} {flags}")
    name = f"accounts/acme/deployments/{api.query()['deploymentId']}"
    assert (code, lines[1:]) == (130, [
        f"{name} may have been created, and bills. To stop it: firectl deployment delete {name}",
        "Error: interrupted (code = Cancelled)",
    ])  # fmt: skip


def test_what_creates_nothing_leaves_nothing_to_stop(cli: Cli, api: Api) -> None:
    api.on("POST", f"{ACME}/deployments", HANG)
    code, lines = cut_off(api, f"deployment create {BASE} --validate-only")
    assert (code, lines) == (130, ["Error: interrupted (code = Cancelled)"])


def test_sigterm_is_143_and_says_what_may_have_been_done(cli: Cli, api: Api) -> None:
    api.on("POST", f"{ACME}/deployments", HANG)
    code, lines = cut_off(api, f"deployment create {BASE} --deployment-id d1 --wait", signal.SIGTERM)
    assert (code, lines) == (143, [
        f"{D} may have been created. To stop it: firectl deployment delete {D}",
        "Error: terminated (code = Cancelled)",
    ])  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_wait_for_a_scale_names_the_command_that_stops_it(
    cli: Cli, api: Api, kind: signal.Signals, code: int
) -> None:
    api.on("PATCH", f"/v1/{D}:scale", {})
    api.on("GET", f"/v1/{D}", {"name": D, "state": "READY", "desiredReplicaCount": 1, "replicaCount": 1})
    argv = [sys.executable, "-m", "firectl", "scale", "d1", "--replica-count", "2", "--wait"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "READY" in process.stderr.readline()
    process.send_signal(kind)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "")
    assert err.splitlines()[0] == (
        f"{D} is still scaling to 2. To see its progress: firectl deployment get {D}; "
        f"to stop it: firectl deployment scale {D} --replica-count 0"
    )
