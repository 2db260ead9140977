"""The facts about a route that the API tells, and what a failed request or load lacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firectl.cli.lookup.live_route import instead, live_checks, meant, misfit
from firectl.client.client import Client
from firectl.names import check_route
from tests.cli.hosted import Api

MODEL, BASE = "accounts/acme/models/m", "accounts/fireworks/models/base"
DEPLOYMENT = "accounts/acme/deployments/d"
ROUTE = f"{MODEL}#{DEPLOYMENT}"
SHARED = {"name": DEPLOYMENT, "state": "READY", "baseModel": BASE, "enableAddons": True, "maxReplicaCount": 1,
          "desiredReplicaCount": 1, "replicaCount": 1, "replicaStats": {"readyReplicaCount": 1}}  # fmt: skip
LORA = {"name": MODEL, "kind": "HF_PEFT_ADDON", "state": "READY", "peftDetails": {"baseModel": BASE}}
ROW = {"name": "accounts/acme/deployedModels/x", "model": MODEL, "deployment": DEPLOYMENT, "state": "DEPLOYED"}


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    """A LoRA that a shared deployment serves."""
    api.on("GET", f"/v1/{MODEL}", LORA)
    api.on("GET", f"/v1/{DEPLOYMENT}", SHARED)
    api.on("GET", "/v1/accounts/acme/deployedModels", {"deployedModels": [ROW]})
    with Client() as client:
        yield client


def failed(client: Client, route: str = ROUTE) -> dict[str, str]:
    """The hint of each check that fails."""
    rows = live_checks(client, check_route(route).to_document(), route)
    return {row["check"]: row["hint"] for row in rows if not row["ok"]}


def test_a_route_that_serves_passes_every_check(client: Client) -> None:
    rows = live_checks(client, check_route(ROUTE).to_document())
    assert [row["check"] for row in rows] == [
        "model_exists", "model_ready", "deployment_exists", "deployment_ready", "replica_ready", "loaded",
        "base_matches", "takes_addons", "precision_allows_addons",
    ]  # fmt: skip
    assert {row["code"] for row in rows} == {"OK"}


@pytest.mark.parametrize(
    ("changed", "check", "hint"),
    [
        ({"state": "CREATING"}, "deployment_ready", f"firectl deployment get {DEPLOYMENT}"),
        ({"state": "DELETED"}, "deployment_exists", f"firectl deployment undelete {DEPLOYMENT} --wait"),
        ({"replicaStats": {}, "maxReplicaCount": 0}, "replica_ready",
         f"it is parked: firectl deployment update {DEPLOYMENT} --max-replica-count 1"),
        ({"replicaStats": {}, "desiredReplicaCount": 0, "minReplicaCount": 0, "replicaCount": 0}, "replica_ready",
         f"a request starts one: firectl chat '{ROUTE}' 'Hello!'"),
        ({"enableAddons": False}, "takes_addons", f"firectl deployment create {BASE} --enable-addons --wait"),
        ({"precision": "FP8"}, "precision_allows_addons",
         f"firectl deployment create {BASE} --enable-addons --wait --precision BF16"),
    ],
)  # fmt: skip
def test_a_failed_check_of_the_deployment_says_what_to_run(
    api: Api, client: Client, changed: dict[str, object], check: str, hint: str
) -> None:
    api.on("GET", f"/v1/{DEPLOYMENT}", {**SHARED, **changed})
    assert failed(client)[check] == hint


def test_a_model_that_is_not_loaded_is_followed_by_its_load(api: Api, client: Client) -> None:
    api.on("GET", "/v1/accounts/acme/deployedModels", {})
    assert failed(client) == {"loaded": f"firectl load-lora {MODEL} --deployment {DEPLOYMENT} --wait"}


@pytest.mark.parametrize(
    ("changed", "hints"),
    [
        ({"baseModel": "accounts/acme/models/other", "enableAddons": False}, {"base_matches": "", "takes_addons": ""}),
        ({"baseModel": "accounts/acme/models/b"}, {"base_matches": ""}),
        ({"enableAddons": False}, {"takes_addons": ""}),
        ({"precision": "FP8"}, {"precision_allows_addons": " --precision BF16"}),
    ],
)
def test_a_model_that_cannot_be_loaded_there_is_followed_by_deployments_that_can_be_made(
    api: Api, client: Client, changed: dict[str, object], hints: dict[str, str]
) -> None:
    api.on("GET", f"/v1/{DEPLOYMENT}", {**SHARED, **changed})
    api.on("GET", "/v1/accounts/acme/deployedModels", {})
    shared = f"firectl deployment create {BASE} --enable-addons --wait"
    alone = {"loaded": f"firectl deployment create {MODEL} --wait"}
    assert failed(client) == alone | {check: shared + more for check, more in hints.items()}


def test_a_base_model_on_a_deployment_of_another_is_deployed_and_not_loaded(api: Api, client: Client) -> None:
    api.on("GET", f"/v1/{MODEL}", {"name": MODEL, "kind": "HF_BASE_MODEL", "state": "READY"})
    api.on("GET", "/v1/accounts/acme/deployedModels", {})
    assert failed(client) == {"loaded": f"firectl deployment create {MODEL} --wait"}


def test_a_model_alone_needs_a_default_deployment(api: Api, client: Client) -> None:
    assert failed(client, MODEL) == {"default_deployment": f"firectl deployment create {MODEL} --wait"}
    api.on("GET", f"/v1/{MODEL}", {**LORA, "deployedModelRefs": [{"deployment": DEPLOYMENT, "default": False}]})
    assert failed(client, MODEL) == {"default_deployment": f"name a deployment that has it: {ROUTE}"}


def test_a_request_without_a_target_learns_what_is_missing(api: Api, client: Client) -> None:
    assert instead(client, ROUTE, ROUTE) is None
    route = "accounts/acme/models/gone#accounts/acme/deployments/d"
    assert instead(client, route, route) == (
        "the model accounts/acme/models/gone does not exist: "
        "firectl model list, or for public ones firectl -a fireworks model list"
    )
    assert instead(client, "d", "accounts/acme/models/d") == (
        f"an ID alone names a model; for the deployment with that ID: firectl chat {DEPLOYMENT} MESSAGE"
    )
    api.on("GET", f"/v1/{DEPLOYMENT}", {**SHARED, "state": "DELETED"})
    assert instead(client, "d", "accounts/acme/models/d") == (
        "the deployment d was deleted; to bring it back: firectl deployment undelete d --wait"
    )


def test_only_an_id_can_mean_a_deployment(client: Client) -> None:
    found = meant(client, "d")
    assert found is not None
    assert found.name == DEPLOYMENT
    assert [meant(client, text) for text in (None, "e", DEPLOYMENT)] == [None, None, None]


def test_a_model_and_a_deployment_that_do_not_fit_say_why(api: Api, client: Client) -> None:
    assert misfit(client, "m", "d") is None
    api.on("GET", f"/v1/{DEPLOYMENT}", {**SHARED, "enableAddons": False})
    assert misfit(client, "m", "d") == (
        f"the deployment takes no addons: firectl deployment create {BASE} --enable-addons --wait"
    )
