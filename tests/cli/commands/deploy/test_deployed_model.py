"""`cli/commands/deploy/deployed_model.py`: what each verb sends and prints."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api

ALL = "/v1/accounts/acme/deployedModels"
ROW = "accounts/acme/deployedModels/m-1"
MODEL = "accounts/acme/models/m"
DEPLOYMENT = "accounts/acme/deployments/d"
WIRE = {"name": ROW, "model": MODEL, "deployment": DEPLOYMENT, "state": "DEPLOYED", "default": True, "public": False}
TEXT = f"""\
Name: {ROW}
Model: {MODEL}
Deployment: {DEPLOYMENT}
Default: true
State: DEPLOYED
Public: false
"""


@pytest.fixture
def loaded(api: Api) -> Api:
    api.on("GET", f"/v1/{DEPLOYMENT}", {"name": DEPLOYMENT, "state": "READY", "enableAddons": True})
    api.on("POST", ALL, {**WIRE, "state": "DEPLOYING"})
    api.on("GET", f"/v1/{ROW}", {**WIRE, "state": "DEPLOYING"}, WIRE)
    api.on("GET", ALL, {"deployedModels": [WIRE]})
    return api


def test_a_deployed_model_is_shown_listed_and_changed(cli: Cli, loaded: Api) -> None:
    loaded.on("GET", f"/v1/{ROW}", WIRE)
    loaded.on("PATCH", f"/v1/{ROW}", WIRE)
    assert cli("deployed-model", "get", "m-1").out == TEXT
    assert cli("deployed-model", "get", "m-1", "-o", "flag").out == (
        f"{MODEL} --deployment {DEPLOYMENT} --public=false\n"
    )
    assert cli("deployed-model", "list").out == (
        f"NAME{' ' * 28}  STATE     MODEL{' ' * 17}  DEPLOYMENT{' ' * 17}  DEFAULT  CREATE TIME\n"
        f"{ROW}  DEPLOYED  {MODEL}  {DEPLOYMENT}  true     -\n"
    )
    assert cli("deployed-model", "list", "-o", "json").json == [
        {"name": ROW, "model": MODEL, "deployment": DEPLOYMENT, "default": True, "state": "DEPLOYED", "public": False}
    ]
    assert cli("deployed-model", "update", "m-1", "--default", "--public=false").out == TEXT
    assert loaded.query() == {"updateMask": "default,public"}
    assert loaded.changes[-1].json == {"default": True, "public": False}
