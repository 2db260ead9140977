"""Lists page by page: the note on the next page, on public resources and on an unknown state; list commands."""

from __future__ import annotations

import pytest

from firectl.cli.views.listing import list_command
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

MINE = "/v1/accounts/acme"


def test_an_empty_list_of_a_state_that_nothing_has_names_the_states(cli: Cli, api: Api) -> None:
    api.on("GET", f"{MINE}/deployments", {"deployments": []})
    ran = cli("deployment", "list", "--filter", "state = DEAD AND region = X")
    said = "Unknown state DEAD; the known states are CREATING, READY, UPDATING, DELETING, DELETED, FAILED\n"
    assert (ran.code, ran.err) == (0, said)
    for text in ("state = READY", "state != DEAD", "status.state = DEAD"):
        assert cli("deployment", "list", "--filter", text).err == ""


def test_a_page_names_the_next_one_and_no_paginate_fetches_it(cli: Cli, api: Api) -> None:
    pages = [
        {"models": [{"name": f"accounts/acme/models/m{number}"}], "nextPageToken": token, "totalSize": 2}
        for number, token in enumerate(("t", ""))
    ]
    api.on("GET", f"{MINE}/models", *pages)
    ran = cli("model", "list", "-o", "name", "--page-size", "1", "--order-by", "name")
    assert (ran.code, ran.out) == (0, "accounts/acme/models/m0\n")
    assert ran.err == "1 of 2 shown; more with --page-token t or --no-paginate\n"
    assert (api.query()["pageSize"], api.query()["orderBy"]) == ("1", "name")
    api.on("GET", f"{MINE}/models", *pages)
    ran = cli("model", "list", "-o", "name", "--no-paginate")
    assert (ran.out, ran.err) == ("accounts/acme/models/m0\naccounts/acme/models/m1\n", "")


def test_an_empty_list_of_models_names_the_public_ones(cli: Cli, api: Api) -> None:
    api.on("GET", f"{MINE}/models", {})
    assert cli("model", "list").err == "Public ones are in another account: firectl -a fireworks model list\n"
    api.on("GET", f"{MINE}/deployments", {})
    assert cli("deployment", "list").err == ""
    api.on("GET", "/v1/accounts/fireworks/models", {})
    assert cli("model", "list", "-a", "fireworks").err == ""


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("accounts/acme/deployments/d", "firectl deployment list"),
        ("accounts/zoo/deployments/d", "firectl -a zoo deployment list"),
        ("accounts/acme/deployedModels/x", "firectl deployed-model list"),
        ("accounts/acme/models/m", "firectl model list, or for public ones firectl -a fireworks model list"),
        ("accounts/fireworks/models/m", "firectl -a fireworks model list"),
    ],
)
def test_another_account_is_named_and_public_models_are_offered(name: str, command: str) -> None:
    assert list_command(name, "acme") == command
