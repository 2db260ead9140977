"""Deployed models: loaded once, found, waited for, unloaded (`client/deployed_model.py`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firectl import Client
from firectl.errors import ApiError, Code, Exit, WaitTimeout
from firectl.schemas.deployed_model import DeployedModel
from tests.client.clock import Clock
from tests.client.script_server import RESET, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]
EXISTS = answer(409, {"code": 6, "message": "it exists", "details": []})
ROW = "accounts/acme/deployedModels/x"
MISSING = answer(404, {"code": 5, "message": "not found"})


def test_unloading_finds_the_row_and_says_when_there_is_none(serve: Serve, connect: Connect) -> None:
    row = {
        "name": "accounts/acme/deployedModels/x",
        "model": "accounts/acme/models/l",
        "deployment": "accounts/acme/deployments/d",
    }
    server = serve(answer(200, {"deployedModels": [row]}), answer(200, {}))
    client = connect(server.url)
    assert client.deployed_models.unload("l", "accounts/acme/deployments/d").name == row["name"]
    assert (server.received[1].method, server.received[1].path) == ("DELETE", "/v1/accounts/acme/deployedModels/x")
    with pytest.raises(ApiError) as caught:
        client.deployed_models.unload("l", "d")
    assert caught.value.code is Code.NOT_FOUND
    assert caught.value.message == "accounts/acme/models/l is not loaded on accounts/acme/deployments/d"


def test_a_load_whose_answer_is_lost_finds_its_row(serve: Serve, connect: Connect) -> None:
    row = {"name": "accounts/acme/deployedModels/x", "model": "accounts/acme/models/l", "state": "DEPLOYING"}
    row["deployment"] = "accounts/acme/deployments/d"
    other = {**row, "name": "accounts/acme/deployedModels/y", "model": "accounts/acme/models/z"}
    server = serve(RESET, EXISTS, answer(200, {"deployedModels": [other, row]}))
    assert connect(server.url).deployed_models.load("l", "d").name == "accounts/acme/deployedModels/x"


def test_a_deployed_model_is_a_schema_and_not_a_dict(serve: Serve, connect: Connect) -> None:
    row = {"name": "accounts/acme/deployedModels/x", "state": "DEPLOYED"}
    found = connect(serve(answer(200, row)).url).deployed_models.get("x")
    assert found == DeployedModel(name="accounts/acme/deployedModels/x", state="DEPLOYED")


def row(state: str, code: str = "OK", message: str = "") -> Reply:
    return answer(200, {"name": ROW, "state": state, "status": {"code": code, "message": message}})


def test_a_load_is_waited_for(serve: Serve, connect: Connect, clock: Clock) -> None:
    seen: list[str | None] = []
    client = connect(serve(row("DEPLOYING"), row("DEPLOYING"), RESET, row("DEPLOYED")).url)
    found = client.deployed_models.wait(
        "x", 60, on_change=lambda row: seen.append(row.state), clock=clock, sleep=clock.sleep
    )
    assert found.name == ROW
    assert seen == ["DEPLOYING", "DEPLOYED"]


@pytest.mark.parametrize(
    "replies",
    [
        [row("DEPLOYING"), row("UNDEPLOYING", "FAILED_PRECONDITION", "rank 128 is over 64")],
        [row("DEPLOYING"), row("DEPLOYING", "FAILED_PRECONDITION", "rank 128 is over 64"), MISSING],
    ],
)
def test_a_load_that_fails_ends_with_the_reason(
    serve: Serve, connect: Connect, clock: Clock, replies: list[Reply]
) -> None:
    with pytest.raises(ApiError) as caught:
        connect(serve(*replies).url).deployed_models.wait("x", 60, clock=clock, sleep=clock.sleep)
    assert caught.value.message == f"{ROW} could not be loaded: rank 128 is over 64"
    assert (caught.value.code, caught.value.exit_code) == (Code.FAILED_PRECONDITION, Exit.CONFLICT)


@pytest.mark.parametrize("gone", [row("UNDEPLOYING"), MISSING])
def test_a_row_that_goes_without_a_reason_was_unloaded(
    serve: Serve, connect: Connect, clock: Clock, gone: Reply
) -> None:
    with pytest.raises(ApiError, match="was unloaded during the wait") as caught:
        connect(serve(row("DEPLOYING"), gone).url).deployed_models.wait("x", 60, clock=clock, sleep=clock.sleep)
    assert caught.value.exit_code is Exit.CONFLICT


def test_a_load_that_takes_too_long_says_what_it_waits_for(serve: Serve, connect: Connect, clock: Clock) -> None:
    client = connect(serve(row("DEPLOYING", message="waiting for the deployment")).url)
    with pytest.raises(WaitTimeout) as caught:
        client.deployed_models.wait("x", 60, clock=clock, sleep=clock.sleep)
    assert caught.value.message == f"{ROW} is not DEPLOYED after 60 s: DEPLOYING (waiting for the deployment)"


def test_an_unload_is_waited_for(serve: Serve, connect: Connect, clock: Clock) -> None:
    seen: list[DeployedModel] = []
    client = connect(serve(row("UNDEPLOYING"), MISSING).url)
    client.deployed_models.wait_unloaded("x", 60, on_change=seen.append, clock=clock, sleep=clock.sleep)
    assert [found.state for found in seen] == ["UNDEPLOYING", "GONE"]
    with pytest.raises(WaitTimeout, match="is not unloaded after 60 s: UNDEPLOYING"):
        connect(serve(row("UNDEPLOYING")).url).deployed_models.wait_unloaded("x", 60, clock=clock, sleep=clock.sleep)
