"""Waiting: what ends it, what it outlives, what it tells on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from firectl import Client
from firectl.client.wait import poll_delay
from firectl.errors import ApiError, Code, Exit, NetworkError, ResourceFailed, WaitTimeout
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from tests.client.script_server import RESET, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]

NAME = "accounts/acme/deployments/d"
ROW = "accounts/acme/deployedModels/x"
MISSING = answer(404, {"code": 5, "message": "not found"})


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


def deployment(state: str, ready: int | None = None, message: str = "", **fields: Any) -> Reply:
    stats = {} if ready is None else {"replicaStats": {"readyReplicaCount": ready}}
    return answer(200, {"name": NAME, "state": state, "status": {"code": "OK", "message": message}, **stats, **fields})


def row(state: str, code: str = "OK", message: str = "") -> Reply:
    return answer(200, {"name": ROW, "state": state, "status": {"code": code, "message": message}})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait(serve: Serve, connect: Connect, clock: Clock) -> Callable[..., Deployment]:
    def run(*replies: Reply, **options: Any) -> Deployment:
        deployments = connect(serve(*replies).url).deployments
        return deployments.wait("d", 600, clock=clock, sleep=clock.sleep, **options)

    return run


def test_a_deployment_is_waited_for_until_a_replica_is_ready(wait: Callable[..., Deployment]) -> None:
    seen: list[tuple[str | None, int | None]] = []

    def on_change(found: Deployment) -> None:
        stats = found.replica_stats
        seen.append((found.state, stats.ready_replica_count if stats is not None else None))

    found = wait(
        deployment("CREATING"),
        deployment("CREATING"),
        deployment("CREATING", 0),
        deployment("READY", 0),
        deployment("READY", 0),
        deployment("READY", 1),
        on_change=on_change,
    )
    assert found.state == "READY"
    assert seen == [("CREATING", None), ("CREATING", 0), ("READY", 0), ("READY", 1)]


def test_a_changed_message_is_a_change(wait: Callable[..., Deployment]) -> None:
    seen: list[str | None] = []
    wait(
        deployment("CREATING", message="merging 10 %"),
        deployment("CREATING", message="merging 90 %"),
        deployment("READY", 1),
        on_change=lambda found: seen.append(found.status and found.status.message),
    )
    assert seen == ["merging 10 %", "merging 90 %", ""]


@pytest.mark.parametrize(
    "ready",
    [
        deployment("READY", 0, maxReplicaCount=0),
        deployment("READY", 0, desiredReplicaCount=0),
        deployment("READY"),
        deployment("READY", replicaCount=2),
    ],
)
def test_ready_is_enough_where_no_replica_is_wanted_or_counted(wait: Callable[..., Deployment], ready: Reply) -> None:
    assert wait(ready).state == "READY"


def test_a_failed_deployment_ends_the_wait_with_the_servers_words(wait: Callable[..., Deployment]) -> None:
    with pytest.raises(ResourceFailed) as caught:
        wait(deployment("CREATING"), deployment("FAILED", message="no space left"))
    assert caught.value.message == f"{NAME} failed: no space left"
    assert caught.value.exit_code is Exit.FAILED


@pytest.mark.parametrize("gone", [MISSING, deployment("DELETING"), deployment("DELETED")])
def test_one_that_is_deleted_meanwhile_ends_the_wait(wait: Callable[..., Deployment], gone: Reply) -> None:
    with pytest.raises(ApiError) as caught:
        wait(deployment("CREATING"), gone)
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, f"{NAME} was deleted during the wait")


def test_one_that_never_was_is_not_found(wait: Callable[..., Deployment]) -> None:
    with pytest.raises(ApiError, match="not found") as caught:
        wait(MISSING)
    assert caught.value.exit_code is Exit.NOT_FOUND


def test_a_server_that_is_away_for_a_while_is_outlived(wait: Callable[..., Deployment]) -> None:
    busy = answer(503, {"code": 14, "message": "restarting"})
    broken = answer(500, {"code": 13, "message": "oops"})
    assert (
        wait(RESET, busy, RESET, deployment("CREATING"), broken, RESET, busy, deployment("READY", 1)).state == "READY"
    )


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(answer(401, {"message": "who?"}), ApiError), (answer(200, b"<html>"), NetworkError)],
)
def test_what_waiting_does_not_mend_ends_it(
    wait: Callable[..., Deployment], reply: Reply, kind: type[ApiError]
) -> None:
    with pytest.raises(kind):
        wait(deployment("CREATING"), reply)


def test_the_time_runs_out_with_the_last_state_and_never_later(wait: Callable[..., Deployment], clock: Clock) -> None:
    with pytest.raises(WaitTimeout) as caught:
        wait(deployment("CREATING", 0, "pulling weights"))
    assert caught.value.message == f"{NAME} is not READY after 600 s: CREATING, 0 replicas ready (pulling weights)"
    assert (caught.value.exit_code, caught.value.hint) == (Exit.WAIT_TIMEOUT, f"firectl deployment get {NAME}")
    assert clock.now == pytest.approx(700.0)


def test_the_time_runs_out_on_a_server_that_never_answers(wait: Callable[..., Deployment]) -> None:
    with pytest.raises(WaitTimeout, match=r"is not READY after 600 s: last error: .* closed the connection"):
        wait(RESET)


def test_a_wait_may_be_for_other_states(wait: Callable[..., Deployment]) -> None:
    assert wait(deployment("READY", 1), deployment("UPDATING"), until={"UPDATING", "DELETED"}).state == "UPDATING"


def test_polls_grow_apart_with_the_time_waited() -> None:
    assert [poll_delay(elapsed) for elapsed in (0, 1, 10, 30, 1000)] == [0.25, 0.25, 1.0, 3.0, 5.0]


@pytest.mark.parametrize("gone", [MISSING, deployment("DELETED")])
def test_a_delete_is_waited_for(serve: Serve, connect: Connect, clock: Clock, gone: Reply) -> None:
    seen: list[str | None] = []
    client = connect(serve(deployment("READY", 1), deployment("DELETING"), RESET, gone).url)
    client.deployments.wait_deleted(
        "d", 60, on_change=lambda found: seen.append(found.state), clock=clock, sleep=clock.sleep
    )
    assert seen == ["READY", "DELETING", "DELETED"]


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
