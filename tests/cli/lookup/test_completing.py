"""Shell completion: words, flags, values and names of resources; never an error, never late.

About `cli/lookup/completing.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import Api
from tests.client.script_server import HANG, RESET, answer

SHELLS = ("bash", "zsh", "fish")
OWN = "accounts/acme"
MODELS = f"/v1/{OWN}/models"
PUBLIC = "/v1/accounts/fireworks/models"


def asking(line: str, shell: str = "bash") -> dict[str, str]:
    """The environment in which a shell asks for completions of the end of `line`."""
    words = line.split(" ")
    if shell == "fish":
        return {"_FIRECTL_COMPLETE": "fish_complete", "COMP_WORDS": line, "COMP_CWORD": words[-1]}
    if shell == "bash":
        # bash breaks at every = as well.
        words = [part for word in words for part in re.split("(=)", word) if part or not word]
    return {"_FIRECTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}


def offered(cli: Cli, line: str, shell: str = "bash") -> list[str]:
    ran = cli(env=asking(line, shell))
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.strip().splitlines()
    return lines[1::3] if shell == "zsh" else [row.partition(",")[2].partition("\t")[0] for row in lines]


@pytest.fixture
def stocked(api: Api) -> Api:
    """Two models of the account, a public base, and resources made of them."""
    api.on("GET", MODELS, {"models": [{"name": f"{OWN}/models/{model}"} for model in ("my-lora", "other")]})
    api.on("GET", PUBLIC, {"models": [{"name": "accounts/fireworks/models/base"}]})
    api.on("GET", f"/v1/{OWN}/deployments", {"deployments": [{"name": f"{OWN}/deployments/d1"}]})
    row = {"name": f"{OWN}/deployedModels/x1", "model": f"{OWN}/models/my-lora", "deployment": f"{OWN}/deployments/d1"}
    api.on("GET", f"/v1/{OWN}/deployedModels", {"deployedModels": [row]})
    api.on("GET", f"/v1/{OWN}/deploymentShapes", {"deploymentShapes": [{"name": f"{OWN}/deploymentShapes/farm"}]})
    api.on("GET", "/v1/accounts/fireworks/deploymentShapes", {})
    version = {"name": f"{OWN}/deploymentShapes/farm/versions/1"}
    api.on("GET", f"/v1/{OWN}/deploymentShapes/-/versions", {"deploymentShapeVersions": [version]})
    api.on("GET", "/v1/accounts", {"accounts": [{"name": OWN}]})
    api.on("GET", f"/v1/{OWN}/users", {"users": [{"name": f"{OWN}/users/ann"}]})
    return api


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_code_for_the_shell(cli: Cli, shell: str) -> None:
    ran = cli("completion", shell)
    assert ran.code == 0
    assert f"_FIRECTL_COMPLETE={shell}_complete" in ran.out


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("firectl deployment-s", ["deployment-shape", "deployment-shape-version"]),
        ("firectl deployment un", ["undelete"]),
        ("firectl create depl", ["deployment"]),
        ("firectl list deployment-sh", ["deployment-shape", "deployment-shape-version"]),
        ("firectl -o js", ["json"]),
        ("firectl deployment create --enable-a", ["--enable-addons"]),
        ("firectl deployment create m --accelerator-type NVIDIA_A100", ["NVIDIA_A100_40GB", "NVIDIA_A100_80GB"]),
        ("firectl deployment create m --precision bf", ["bf16"]),
        ("firectl deployment create m --region eu", ["europe"]),
        ("firectl deployment create m --deployment-shape fa", ["fast", "farm"]),
        ("firectl deployment-metrics list --group-by d", ["deployment"]),
        ("firectl completion z", ["zsh"]),
        ("firectl deployment create my", ["my-lora"]),
        ("firectl deployment create --enable-addons my", ["my-lora"]),
        ("firectl load-lora my-lora --deployment ", ["d1"]),
        ("firectl get deployment d", ["d1"]),
        ("firectl model create new ./x --base-model accounts/f", ["accounts/fireworks/models/base"]),
        ("firectl model get accounts/acme/models/m", ["accounts/acme/models/my-lora"]),
        ("firectl deployed-model get ", ["x1"]),
        ("firectl deployment-shape get ", ["farm"]),
        ("firectl deployment-shape-version get ", ["farm/versions/1"]),
        ("firectl chat my", ["my-lora#d1"]),
        ("firectl route check accounts/", [f"{OWN}/models/my-lora#{OWN}/deployments/d1"]),
        ("firectl -a a", ["acme"]),
        ("firectl api-key list --user ", ["ann"]),
        ("firectl nonsense ", []),
        ("firectl deployment get d1 ", []),
    ],
)
def test_each_place_is_offered_what_fits_there(cli: Cli, stocked: Api, shell: str, line: str, found: list[str]) -> None:
    assert offered(cli, line, shell) == found
    assert stocked.changes == []


def test_a_value_after_an_equals_sign_replaces_what_the_shell_replaces(cli: Cli, stocked: Api) -> None:
    line = "firectl deployment create m --precision=BF"
    assert offered(cli, line) == ["BF16"]
    assert offered(cli, line, "zsh") == offered(cli, line, "fish") == ["--precision=BF16"]
    assert offered(cli, "firectl model update m --public=") == ["true", "false"]
    assert offered(cli, "firectl load-lora --public=false --deployment=d1 my") == ["my-lora"]


def test_a_deployment_to_undelete_is_one_that_was_deleted(cli: Cli, stocked: Api) -> None:
    assert offered(cli, "firectl deployment undelete ") == ["d1"]
    assert stocked.query()["filter"] == "state = DELETED"
    assert stocked.query()["showDeleted"] == "true"


def test_the_flags_before_say_where_to_look(cli: Cli, stocked: Api) -> None:
    stocked.on("GET", "/v1/accounts/zoo/deployments", {"deployments": [{"name": "accounts/zoo/deployments/ape"}]})
    assert offered(cli, "firectl -a zoo deployment get ") == ["ape"]


def test_profiles_are_offered_without_asking_anybody(cli: Cli, stocked: Api) -> None:
    cli.home.mkdir()
    (cli.home / "auth.ini").write_text("[work]\naccount_id = acme\n")
    assert offered(cli, "firectl -p ") == ["default", "work"]
    assert stocked.asked == []


@pytest.mark.parametrize(
    "bad", [HANG, RESET, answer(500, b"<html>"), answer(401, {"code": 16, "message": "no"}), answer(200, b"[1]")]
)
def test_a_failing_server_delays_completion_briefly_and_prints_nothing(cli: Cli, api: Api, bad: object) -> None:
    api.on("GET", f"/v1/{OWN}/deployments", bad)
    started = time.monotonic()
    assert offered(cli, "firectl deployment get ") == []
    assert time.monotonic() - started < 2


def test_without_a_key_or_with_settings_that_are_wrong_nothing_is_offered(cli: Cli) -> None:
    assert offered(cli, "firectl deployment get ") == []
    assert offered(cli, "firectl -s ftp://x deployment get ") == []
    assert offered(cli, "firectl --timeout soon deployment get ") == []
    assert offered(cli, "firectl deployment get 'unfinished") == []


@pytest.mark.parametrize("line", ["firectl depl", "firectl deployment create --ac", "firectl -o j"])
def test_only_names_import_the_libraries_of_a_request(cli: Cli, line: str) -> None:
    script = (
        "import sys, json, atexit\n"
        "atexit.register(lambda: sys.stderr.write(json.dumps(sorted(sys.modules))))\n"
        "from firectl.cli.main import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **asking(line)}
    )
    assert done.stdout
    assert not {"httpx", "pydantic", "rich"} & set(json.loads(done.stderr))


def test_a_hung_server_keeps_no_shell_waiting(cli: Cli, api: Api) -> None:
    api.on("GET", f"/v1/{OWN}/deployments", HANG)
    ran = cli.process(env=asking("firectl deployment get "), timeout=15)
    assert (ran.code, ran.out.strip(), ran.err) == (0, "", "")


def test_a_real_bash_completes_a_deployment(cli: Cli, stocked: Api, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "firectl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m firectl "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(firectl completion bash)"\n'
        "complete -p firectl\n"
        "try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _firectl_completion firectl; "
        'echo "${COMPREPLY[@]}"; }\n'
        "try firectl deployment get d\n"
        "try firectl deployment create m --precision = BF\n"
        "try firectl depl\n"
    )  # fmt: skip
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stderr in ("", "bash: line 1: compopt: not currently executing completion function\n" * 3)
    lines = done.stdout.splitlines()
    assert lines[0].endswith("_firectl_completion firectl")
    assert lines[1:3] == ["d1", "BF16"]
    assert lines[3].split()[0] == "deployment"
    assert KEY not in done.stdout
