"""The syntax of a command line: both grammars, and where global flags may be. About `cli/grammar/syntax.py`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api

DEPLOYMENT = {"name": "accounts/acme/deployments/d1", "state": "READY", "baseModel": "accounts/acme/models/m"}


@pytest.mark.parametrize(
    "argv",
    [
        "-o name deployment get d1",
        "deployment -o name get d1",
        "deployment get -o name d1",
        "deployment get d1 -o name",
        "deployment get d1 -oname",
        "deployment get d1 --output=name",
        "-o json deployment get d1 -o name",
        "get deployment d1 -o name",
        "get deployments d1 -o name",
        "-o name get deployment d1",
        "deployments get d1 -o name",
        "deployment get accounts/acme/deployments/d1 -o name",
    ],
)
def test_both_grammars_and_every_place_for_a_global_flag_mean_the_same(cli: Cli, api: Api, argv: str) -> None:
    api.on("GET", "/v1/accounts/acme/deployments/d1", DEPLOYMENT)
    ran = cli(*argv.split())
    assert (ran.code, ran.out, ran.err) == (0, "accounts/acme/deployments/d1\n", "")
