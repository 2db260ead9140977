"""`server/front/router.py` to a client: every form of `model`, and every state of a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from firectl.schemas.base import Status
from tests.server.replicas.platform import CATALOG, ME, YOU, Platform, running, wait

BASE = f"{CATALOG}/models/base"
AD = f"{ME}/models/ad"
LORA = f"{ME}/models/lora"
STUCK = f"{ME}/models/stuck"
NOT_FOUND = "Model not found, inaccessible, and/or not deployed"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`multi` serves BASE with AD loaded; `second` serves BASE too; the others are each in a state of their own."""
    with running(tmp_path_factory.mktemp("router") / "local") as platform:
        platform.scripted_model(BASE)
        platform.scripted_model(AD, BASE, voice="ad")
        platform.scripted_model(LORA, BASE, voice="lora")
        platform.scripted_model(STUCK, BASE, load_seconds=600)
        slow = platform.scripted_model(f"{CATALOG}/models/slow", start_seconds=600)
        multi = platform.deploy("multi", BASE, enable_addons=True)
        platform.deploy("second", BASE)
        platform.deploy("creating", slow)
        platform.deploy("parked", BASE, replicas=0, max_replica_count=0)
        failed = platform.deploy("failed", BASE, replicas=0)
        gone = platform.deploy("gone", BASE, replicas=0)
        platform.deploy("theirs", BASE, account=YOU)
        for name in ("multi", "second"):
            platform.ready(f"{ME}/deployments/{name}")
        platform.ready(f"{YOU}/deployments/theirs")
        platform.deployed(platform.load(AD, multi, default=True))
        platform.load(STUCK, multi)
        platform.set(failed, state="FAILED", status=Status(code="INTERNAL", message="engine cannot load the model: no"))
        platform.set(gone, state="DELETED")
        yield platform


def deployment(name: str, account: str = ME) -> str:
    return f"{account}/deployments/{name}"


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()["error"]
    return response.status_code, body["code"], body["message"]


def refused(response: httpx.Response, why: str) -> None:
    """A 404 with the one message and the explanation."""
    assert error(response) == (404, "NOT_FOUND", f"{NOT_FOUND} ({why})")
    assert response.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    ("asked", "model", "voice"),
    [
        (f"{BASE}#{ME}/deployments/multi", BASE, "base"),
        (f"{AD}#{ME}/deployments/multi", AD, "ad"),
        ("me/ad#me/multi", AD, "ad"),
        (f"{ME}/deployments/multi", BASE, "base"),
        (BASE, BASE, "base"),
        ("fireworks/base", BASE, "base"),
        (AD, AD, "ad"),
        ("me/ad", AD, "ad"),
    ],
)
def test_every_form_that_servers_accept_goes_where_it_says(
    shared: Platform, asked: str, model: str, voice: str
) -> None:
    response = shared.chat(asked, "tokens:1")
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == voice
    assert response.json()["model"] == asked
    assert response.headers["x-firectl-model"] == model
    assert response.headers["x-firectl-deployment"] == deployment("multi")
    assert len(response.headers["x-request-id"]) == 32


def test_a_bare_model_goes_to_its_default_deployment_alone(shared: Platform) -> None:
    assert shared.chat(BASE).headers["x-firectl-deployment"] == deployment("multi")
    assert shared.chat(f"{BASE}#{ME}/deployments/second").headers["x-firectl-deployment"] == deployment("second")


@pytest.mark.parametrize(
    ("asked", "canonical"),
    [
        ("ad", AD),
        ("ad#multi", f"{AD}#{ME}/deployments/multi"),
        (f"{AD}#multi", f"{AD}#{ME}/deployments/multi"),
    ],
)
def test_a_short_name_is_answered_with_the_string_to_send(shared: Platform, asked: str, canonical: str) -> None:
    refused(shared.chat(asked), f"servers take full names alone: send {canonical}")


def test_a_malformed_string_is_answered_with_what_is_wrong(shared: Platform) -> None:
    status, code, message = error(shared.chat(f"{AD} #{ME}/deployments/multi"))
    assert (status, code) == (404, "NOT_FOUND")
    assert message.startswith(NOT_FOUND)
    assert f"write {AD}#{ME}/deployments/multi" in message


def test_a_model_that_is_deployed_nowhere_is_not_found(shared: Platform) -> None:
    refused(shared.chat(LORA), f"{LORA} is deployed nowhere")
    refused(shared.chat(f"{ME}/models/no-such"), f"there is no model {ME}/models/no-such")


def test_a_deployment_that_does_not_exist_is_not_found(shared: Platform) -> None:
    name = deployment("no-such")
    refused(shared.chat(f"{BASE}#{name}"), f"there is no deployment {name}, or this key may not use it")


def test_another_accounts_deployment_is_not_found(shared: Platform) -> None:
    theirs = deployment("theirs", YOU)
    refused(shared.chat(theirs), f"there is no deployment {theirs}, or this key may not use it")
    assert shared.chat(theirs, key="yours").status_code == 200
    assert shared.chat(deployment("multi"), key="yours").status_code == 404


def test_a_model_not_loaded_there_is_not_found_with_the_command_that_loads_it(shared: Platform) -> None:
    refused(
        shared.chat(f"{LORA}#{ME}/deployments/multi"),
        f"{LORA} is not loaded on {deployment('multi')}: firectl load-lora {LORA} --deployment multi",
    )


def test_a_deployment_without_addons_says_so(shared: Platform) -> None:
    refused(
        shared.chat(f"{LORA}#{ME}/deployments/second"),
        f"{deployment('second')} serves {BASE} alone: it was created without addons",
    )


def test_a_model_without_a_default_is_answered_with_its_routes(shared: Platform) -> None:
    refused(shared.chat(STUCK), f"{STUCK} has no default deployment: send {STUCK}#{deployment('multi')}")


def test_a_model_still_loading_is_503(shared: Platform) -> None:
    response = shared.chat(f"{STUCK}#{ME}/deployments/multi")
    wanted = f"{STUCK} is not loaded on {deployment('multi')} yet: loading adapter"
    assert error(response) == (503, "DEPLOYMENT_NOT_READY", wanted)
    assert response.headers["retry-after"] == "1"


def test_a_deployment_still_creating_is_503(shared: Platform) -> None:
    response = shared.chat(deployment("creating"))
    wanted = f"{deployment('creating')} is not ready yet: starting replica"
    assert error(response) == (503, "DEPLOYMENT_NOT_READY", wanted)
    assert response.headers["retry-after"] == "5"


def test_a_parked_deployment_is_refused_without_a_retry_and_stays_parked(shared: Platform) -> None:
    response = shared.chat(deployment("parked"))
    wanted = f"{deployment('parked')} is parked: its max replica count is 0, and no request starts a replica"
    assert error(response) == (412, "DEPLOYMENT_PARKED", wanted)
    assert "retry-after" not in response.headers
    assert shared.deployment(deployment("parked")).desired_replicas == 0


def test_a_failed_deployment_is_not_found_and_says_why(shared: Platform) -> None:
    why = f"{deployment('failed')} is FAILED: engine cannot load the model: no"
    refused(shared.chat(deployment("failed")), why)


def test_a_deleted_deployment_is_not_found(shared: Platform) -> None:
    refused(shared.chat(deployment("gone")), f"{deployment('gone')} is DELETED")


def test_a_deployment_scaled_to_zero_is_503_at_once_and_wakes(platform: Platform) -> None:
    name = platform.deploy("zero", platform.scripted_model(BASE), replicas=0)
    platform.ready(name)
    response = platform.chat(name)
    wanted = f"{name} is scaled to zero; a replica is starting"
    assert error(response) == (503, "DEPLOYMENT_SCALING_UP", wanted)
    assert response.headers["retry-after"] == "5"
    assert platform.deployment(name).desired_replicas == 1
    wait(lambda: platform.chat(name).status_code == 200)


def test_while_it_wakes_the_code_stays_scaling_up(platform: Platform) -> None:
    name = platform.deploy("zero", platform.scripted_model(BASE, start_seconds=600), replicas=0)
    platform.ready(name)
    platform.chat(name)
    wait(lambda: platform.deployment(name).state == "UPDATING")
    assert error(platform.chat(name)) == (503, "DEPLOYMENT_SCALING_UP", f"{name} is starting a replica")


def test_a_deployment_that_has_no_room_to_wake_is_429_and_stays_asleep(platform: Platform) -> None:
    platform.supervisor.max_replicas = 1
    platform.ready(platform.deploy("busy", platform.scripted_model(BASE)))
    name = platform.deploy("zero", BASE, replicas=0)
    platform.ready(name)
    status, code, message = error(platform.chat(name))
    assert (status, code) == (429, "RESOURCE_EXHAUSTED")
    assert "at most 1 in total (--max-replicas)" in message
    assert platform.deployment(name).desired_replicas == 0


def test_models_lists_what_can_be_addressed_now(shared: Platform) -> None:
    answer = shared.client.get("/models").json()
    assert answer["object"] == "list"
    assert {row["id"] for row in answer["data"]} == {
        f"{BASE}#{ME}/deployments/multi",
        f"{BASE}#{ME}/deployments/second",
        f"{AD}#{ME}/deployments/multi",
        BASE,
        AD,
    }
    assert {(row["object"], row["owned_by"]) for row in answer["data"]} == {("model", "fireworks"), ("model", "me")}


def test_an_unload_is_seen_by_the_next_request(platform: Platform, tmp_path: Path) -> None:
    base = platform.scripted_model(BASE)
    name = platform.deploy("multi", base, enable_addons=True)
    row = platform.load(platform.scripted_model(AD, base, voice="ad"), name)
    platform.deployed(row)
    route = f"{AD}#{name}"
    assert platform.chat(route).status_code == 200
    platform.set(row, state="UNDEPLOYING")
    assert platform.chat(route).status_code == 404
    wait(lambda: platform.loaded(row) is None)
    assert platform.chat(name).status_code == 200
