"""The columns of each list: every one shows a field that the resource has."""

from __future__ import annotations

import io

import pytest

from firectl.cli.output.output import Output, View
from firectl.cli.views import tables
from firectl.schemas.account import Account, ApiKey
from firectl.schemas.base import Wire
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.schemas.shape import DeploymentShape, DeploymentShapeVersion

TIME = "2027-01-31T00:00:00Z"
HARDWARE = {
    "baseModel": "b",
    "acceleratorType": "GPU",
    "acceleratorCount": 2,
    "precision": "BF16",
    "presetType": "FAST",
}


@pytest.mark.parametrize(
    ("view", "schema", "wire", "shown"),
    [
        (tables.DEPLOYMENT, Deployment,
         {"name": "d", "state": "READY", "baseModel": "b", "replicaStats": {"readyReplicaCount": 1},
          "desiredReplicaCount": 2, "enableAddons": True, "createTime": TIME, "displayName": "D"},
         f"d READY b 1 2 true {TIME} D"),
        (tables.MODEL, Model,
         {"name": "m", "kind": "HF_PEFT_ADDON", "state": "READY", "peftDetails": {"baseModel": "b"},
          "createTime": TIME, "displayName": "M"}, f"m HF_PEFT_ADDON READY b {TIME} M"),
        (tables.DEPLOYED_MODEL, DeployedModel,
         {"name": "x", "state": "DEPLOYED", "model": "m", "deployment": "d", "default": True, "createTime": TIME},
         f"x DEPLOYED m d true {TIME}"),
        (tables.DEPLOYMENT_SHAPE, DeploymentShape, {"name": "s", **HARDWARE}, "s b GPU 2 BF16 FAST"),
        (tables.DEPLOYMENT_SHAPE_VERSION, DeploymentShapeVersion,
         {"name": "v", "validated": True, "latestValidated": False, "snapshot": HARDWARE},
         "v true false b GPU 2 BF16 FAST"),
        (tables.ACCOUNT, Account, {"name": "a", "state": "READY", "displayName": "A"}, "a READY A"),
        (tables.API_KEY, ApiKey,
         {"keyId": "k", "displayName": "K", "prefix": "fw_abc", "email": "e", "createTime": TIME, "expireTime": TIME},
         f"k K fw_abc e {TIME} {TIME}"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
def test_a_row_shows_every_column(view: View, schema: type[Wire], wire: dict[str, object], shown: str) -> None:
    out = io.StringIO()
    Output(stdout=out).emit([schema.model_validate(wire)], view)
    assert out.getvalue().splitlines()[1].split() == shown.split()


def test_counts_that_the_wire_omits_are_zero() -> None:
    out = io.StringIO()
    Output(stdout=out).emit(Deployment(name="d"), tables.DEPLOYMENT)
    assert "Replica Stats:\n  Ready Replica Count: 0\n" in out.getvalue()
