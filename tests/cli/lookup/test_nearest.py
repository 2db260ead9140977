"""A missing name is answered with the existing one that is most similar; any failure of the search is silent."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from firectl.cli.lookup.nearest import did_you_mean
from firectl.client.client import Client
from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import HANG, RESET, answer

MINE = "/v1/accounts/acme"
NOT_FOUND = answer(404, {"code": 5, "message": "not found", "details": []})


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(timeout=0.3) as client:
        yield client


@pytest.mark.parametrize(
    ("argv", "method", "path", "meant"),
    [
        ("deployment get shard", "GET", "deployments/shard", "shared"),
        ("load-lora sample-poet --deployment shard", "POST", "deployedModels", "shared"),
        ("load-lora sample-poett --deployment shared", "POST", "deployedModels", "sample-poet"),
        ("model get sample-poett", "GET", "models/sample-poett", "sample-poet"),
        ("model get sample-llama", "GET", "models/sample-llama", "accounts/fireworks/models/sample-llama"),
        ("deployment create sample-lama", "POST", "deployments", "accounts/fireworks/models/sample-llama"),
    ],
)
def test_a_mistyped_name_gets_the_similar_one_as_a_hint(
    cli: Cli, api: Api, argv: str, method: str, path: str, meant: str
) -> None:
    public = {"name": "accounts/fireworks/models/sample-llama"}
    api.on("GET", f"{MINE}/models", {"models": [{"name": "accounts/acme/models/sample-poet"}]})
    api.on("GET", f"{MINE}/deployments", {"deployments": [{"name": "accounts/acme/deployments/shared"}]})
    api.on("GET", "/v1/accounts/fireworks/models", {"models": [public]})
    api.on("GET", "/v1/accounts/fireworks/models/sample-llama", public)
    api.on(method, f"{MINE}/{path}", NOT_FOUND)
    ran = cli(*argv.split())
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[-1].startswith(f"Hint: did you mean {meant}? To list all: firectl ")


def test_a_model_in_place_of_a_deployed_model_gets_the_list_of_its_loads(cli: Cli, api: Api) -> None:
    row = {"name": "accounts/acme/deployedModels/m-1", "model": "accounts/acme/models/m"}
    api.on("GET", f"{MINE}/deployedModels", {"deployedModels": [row]})
    assert cli("deployed-model", "get", "m").err.splitlines()[-1] == (
        "Hint: that is a model; where it is loaded: "
        "firectl deployed-model list --filter 'model = \"accounts/acme/models/m\"'"
    )


def test_the_first_missing_name_is_the_one_that_is_explained(api: Api, client: Client) -> None:
    api.on("GET", f"{MINE}/models", {"models": [{"name": "accounts/acme/models/poet"}]})
    api.on("GET", f"{MINE}/deployments", {"deployments": [{"name": "accounts/acme/deployments/shared"}]})
    names = ["accounts/acme/models/poet", "accounts/acme/deployments/shard"]
    assert did_you_mean(client, names) == "did you mean shared?"
    assert did_you_mean(client, ["accounts/acme/models/nothing-like-it", "no name at all"]) is None


def test_a_name_of_another_account_is_suggested_in_full(api: Api, client: Client) -> None:
    api.on("GET", "/v1/accounts/zoo/deployments", {"deployments": [{"name": "accounts/zoo/deployments/giraffe"}]})
    assert did_you_mean(client, ["accounts/zoo/deployments/girafe"]) == "did you mean accounts/zoo/deployments/giraffe?"


@pytest.mark.parametrize("bad", [HANG, RESET, answer(200, {"models": "none"}), answer(500, b"<html>")])
def test_a_failure_of_the_search_is_silent_and_soon_over(api: Api, client: Client, bad: object) -> None:
    api.on("GET", f"{MINE}/models", bad)
    started = time.monotonic()
    assert did_you_mean(client, ["accounts/acme/models/m"]) is None
    assert time.monotonic() - started < 2
