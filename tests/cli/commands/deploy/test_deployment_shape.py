"""`cli/commands/deploy/deployment_shape.py`: what each verb asks for and prints."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.cli.hosted import Api

SHAPE = "accounts/fireworks/deploymentShapes/plain"
WIRE = {"name": SHAPE, "baseModel": "accounts/fireworks/models/base", "precision": "BF16"}


def test_a_shape_is_shown_and_cannot_be_written_as_flags(cli: Cli, api: Api) -> None:
    api.on("GET", f"/v1/{SHAPE}", WIRE)
    ran = cli("ds", "get", SHAPE)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"Name: {SHAPE}\nBase Model: accounts/fireworks/models/base\nPrecision: BF16\n"
    assert cli("ds", "get", SHAPE, "-o", "flag").code == 2


def test_list_asks_for_the_shapes_of_a_model_by_its_full_name(cli: Cli, api: Api) -> None:
    api.on("GET", "/v1/accounts/acme/deploymentShapes", {"deploymentShapes": [WIRE]})
    ran = cli("deployment-shape", "list", "--target-model", "m", "-o", "name")
    assert (ran.code, ran.out) == (0, f"{SHAPE}\n")
    assert api.query()["targetModel"] == "accounts/acme/models/m"
    api.on("GET", "/v1/accounts/acme/deploymentShapes", {})
    assert cli("ds", "list").err == "Public ones are in another account: firectl -a fireworks deployment-shape list\n"
