"""`cli/commands/deploy/deployment_shape_version.py`: what each verb asks for and prints."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.cli.deployment.shapes_api import BASE, offer_shapes
from tests.cli.hosted import Api

PLAIN = "accounts/fireworks/deploymentShapes/plain"


def test_match_lists_each_version_that_fits_once(cli: Cli, api: Api) -> None:
    offer_shapes(api)
    ran = cli("deployment-shape-version", "match", "--model", "m", "-o", "name")
    assert ran.out == (
        "accounts/fireworks/deploymentShapes/plain/versions/1\naccounts/fireworks/deploymentShapes/quick/versions/1\n"
    )
    row = cli("dsv", "match", "--model", BASE, "-o", "json").json[0]
    assert (row["validated"], row["latest_validated"], row["snapshot"]["precision"]) == (True, True, "BF16")


def test_get_asks_for_the_version_that_latest_means(cli: Cli, api: Api) -> None:
    offer_shapes(api)
    ran = cli("-a", "fireworks", "deployment-shape-version", "get", "plain/versions/latest")
    assert (ran.code, ran.out.splitlines()[0]) == (0, f"Name: {PLAIN}/versions/1"), ran.err


def test_list_is_narrowed_to_a_base_beside_the_filter_that_was_given(cli: Cli, api: Api) -> None:
    offer_shapes(api)
    ran = cli("dsv", "list", "-a", "fireworks", "--base-model", "base", "--filter", "validated = true", "-o", "name")
    assert (ran.code, ran.out.splitlines()[0]) == (0, f"{PLAIN}/versions/1"), ran.err
    assert api.query()["filter"] == f'(validated = true) AND snapshot.base_model = "{BASE}"'
    api.on("GET", f"/v1/{PLAIN}/versions", {"deploymentShapeVersions": []})
    assert cli("dsv", "list", PLAIN, "-o", "json").json == []
