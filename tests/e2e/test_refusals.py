"""What is wrong is refused with the reason, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from firectl.errors import Exit
from firectl.samples import sample_path
from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell
from tests.tiny import make_adapter, make_base


def models_there(shell: Shell) -> list[str]:
    return shell.ok("model", "list", "-o", "name").out.split()


def stored_folders(shell: Shell) -> set[str]:
    return {str(path.relative_to(shell.home)) for path in (shell.home / "local" / "models").rglob("*")}


def inference(shell: Shell, body: Mapping[str, object], key: str | None = None) -> httpx.Response:
    headers = {} if key == "" else {"Authorization": f"Bearer {key or shell.env['FIREWORKS_API_KEY']}"}
    url = shell.env["FIREWORKS_BASE_URL"] + "/inference/v1/chat/completions"
    return httpx.post(url, json=body, headers=headers, trust_env=False)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A copy of a good adapter whose last bytes were lost."""
    folder = tmp_path / "damaged"
    shutil.copytree(sample_path("pirate"), folder)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return folder


def test_a_bad_adapter_is_refused_before_anything_is_sent(platform: Shell, damaged: Path) -> None:
    before, stored = models_there(platform), stored_folders(platform)
    ran = platform.firectl("model", "create", "damaged", str(damaged), "--base-model", BASE)
    assert (ran.code, ran.out) == (2, "")
    assert "adapter_model.safetensors" in ran.err
    assert (models_there(platform), stored_folders(platform)) == (before, stored)


def test_an_adapter_of_another_base_is_refused_before_anything_is_sent(platform: Shell, tmp_path: Path) -> None:
    other = make_adapter(tmp_path / "other", make_base(tmp_path / "base", hidden=96))
    before, stored = models_there(platform), stored_folders(platform)
    ran = platform.firectl("model", "create", "other", str(other), "--base-model", BASE)
    assert (ran.code, ran.out) == (2, "")
    assert "the adapter changes a weight of shape" in ran.err
    assert (models_there(platform), stored_folders(platform)) == (before, stored)
    ran = platform.firectl("lora", "check", str(other), "--base-model", BASE)
    assert (ran.code, ran.err) == (2, "")


def test_the_platform_refuses_what_was_insisted_on_and_keeps_no_row_and_no_file(
    platform: Shell, tmp_path: Path
) -> None:
    too_wide = make_adapter(tmp_path / "too-wide", sample_path("base"), r=65)
    before, stored = models_there(platform), stored_folders(platform)
    ran = platform.firectl("model", "create", "too-wide", str(too_wide), "--base-model", BASE, "--skip-checks")
    assert ran.out == ""
    assert ran.code in (Exit.CONFLICT, Exit.INVALID)
    assert "65" in ran.err
    assert (models_there(platform), stored_folders(platform)) == (before, stored)


def test_no_key_and_a_wrong_key_are_401(platform: Shell) -> None:
    body = {"model": BASE, "messages": [{"role": "user", "content": "Hello!"}]}
    assert inference(platform, body, key="").status_code == 401
    assert inference(platform, body, key="fw_wrong").status_code == 401
    ran = platform.firectl("deployment", "list", "--api-key", "fw_wrong", "-o", "json")
    assert (ran.code, ran.out) == (4, "")
    assert json.loads(ran.err.splitlines()[-1])["error"]["http_status"] == 401


def test_another_accounts_resource_is_not_found(platform: Shell) -> None:
    for command in (
        ("deployment", "get", "accounts/stranger/deployments/d"),
        ("model", "get", "accounts/stranger/models/m"),
    ):
        ran = platform.firectl(*command, "-o", "json")
        assert (ran.code, ran.out) == (3, "")


def test_the_old_request_key_is_refused_with_what_to_send_instead(platform: Shell) -> None:
    body = {
        "model": BASE,
        "deployedModel": "accounts/local/deployedModels/x",
        "messages": [{"role": "user", "content": "Hello!"}],
    }
    answer = inference(platform, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "deployedModel"
    assert "#" in error["message"]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("deployment", "get", "Bad_ID"), 2, "Bad_ID"),
        (("deployment", "get", "x" * 64), 2, "63"),
        (("deployment", "get", "accounts/local/models/sample-poet"), 2, "expected a deployment, got the model"),
        (("model", "get", "accounts/local/deployments/d"), 2, "expected a model, got the deployment"),
        (
            ("load-lora", "sample-poet", "--deployment", "accounts/local/models/m"),
            2,
            "expected a deployment, got the model",
        ),
        (("deployment", "create", "accounts/local/models/-x"), 2, "hyphen"),
        (("model", "get", "not-there"), 3, "not-there"),
        (("load-lora", "sample-poet", "--deployment", "not-there"), 3, "not-there"),
        (("load-lora", "not-there", "--deployment", "not-there"), 3, "not-there"),
        (("deployment", "create", "not-there"), 3, "not-there"),
        (("deployment", "create", "sample-poet", "--enable-addons"), 2, "LoRA"),
        (("deployment", "create", BASE, "--enable-addons", "--precision", "FP8"), 2, "quantized precisions"),
        (("deployment", "create", BASE, "--min-replica-count", "2", "--max-replica-count", "1"), 2, "min"),
        (("deployment", "create", BASE, "--display-name", "x" * 64), 2, "64"),
        (("chat", "accounts/local/models/sample-poet#", "hi"), 2, "#"),
        (("chat", "accounts/local/models/not-there", "hi"), 3, "not deployed"),
    ],
)
def test_names_that_are_wrong_or_missing_say_so(platform: Shell, argv: tuple[str, ...], code: int, says: str) -> None:
    before = platform.ok("deployment", "list", "-o", "name").out
    ran = platform.firectl(*argv, "-o", "json")
    assert (ran.code, ran.out) == (code, ""), ran
    assert says in json.loads(ran.err.splitlines()[-1])["error"]["message"]
    assert platform.ok("deployment", "list", "-o", "name").out == before
