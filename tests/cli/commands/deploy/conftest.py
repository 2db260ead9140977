"""A deployed model of an API that gives set answers: its row, as JSON and as text."""

from __future__ import annotations

import pytest

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
