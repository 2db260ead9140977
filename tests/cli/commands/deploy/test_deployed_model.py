"""`cli/commands/deploy/deployed_model.py`: what each verb sends and prints."""

from __future__ import annotations

from tests.cli.commands.deploy.conftest import DEPLOYMENT, MODEL, ROW, TEXT, WIRE
from tests.cli.conftest import Cli
from tests.cli.hosted import Api


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
