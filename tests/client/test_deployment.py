"""Deployments: created once, waited for, scaled, deleted (`client/deployment.py`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from firectl import Client
from firectl.errors import ApiError, Code, Exit, NetworkError, ResourceFailed, WaitTimeout
from firectl.schemas.deployment import Deployment
from tests.client.clock import Clock
from tests.client.script_server import RESET, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]
BASE = "accounts/fireworks/models/base"
EXISTS = answer(409, {"code": 6, "message": "it exists", "details": []})
NAME = "accounts/acme/deployments/d"
MISSING = answer(404, {"code": 5, "message": "not found"})


def test_a_create_has_its_id_in_the_query_and_the_deployment_as_its_body(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"name": "accounts/acme/deployments/d1"}))
    deployments = connect(server.url).deployments
    deployments.create(Deployment(base_model="b", max_replica_count=0), deployment_id="d1", validate_only=True)
    deployments.create(Deployment(base_model="b"))
    assert server.received[0].path == "/v1/accounts/acme/deployments?deploymentId=d1&validateOnly=true"
    assert server.received[0].json == {"baseModel": "b", "maxReplicaCount": 0}
    chosen = server.received[1].path.partition("deploymentId=")[2]
    assert len(chosen) == 8
    assert chosen.isalnum()


def test_deletes_and_scales_go_by_their_own_paths(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {}))
    client = connect(server.url)
    client.deployments.delete("d", hard=True, ignore_checks=False)
    client.deployments.scale("d", 0)
    client.models.prepare("m", "FP8")
    told = [(request.method, request.path, request.body) for request in server.received]
    assert told == [
        ("DELETE", "/v1/accounts/acme/deployments/d?hard=true&ignoreChecks=false", b""),
        ("PATCH", "/v1/accounts/acme/deployments/d:scale", b'{"replicaCount": 0}'),
        ("POST", "/v1/accounts/acme/models/m:prepare", b'{"precision": "FP8"}'),
    ]


@pytest.mark.parametrize(
    "found",
    [
        {"baseModel": "accounts/fireworks/models/other", "createTime": datetime.now(UTC).isoformat()},
        {"baseModel": BASE, "createTime": "2020-01-01T00:00:00Z"},
        None,
    ],
)
def test_what_a_repeat_finds_must_be_ours(serve: Serve, connect: Connect, found: dict[str, Any] | None) -> None:
    replies = [RESET, EXISTS, answer(200, found) if found else answer(404, {"code": 5, "message": "gone"})]
    with pytest.raises(ApiError) as caught:
        connect(serve(*replies).url).deployments.create(Deployment(base_model=BASE), deployment_id="d1")
    assert (caught.value.code, caught.value.message) == (Code.ALREADY_EXISTS, "it exists")


def test_when_nobody_knows_whether_it_was_made_the_error_says_how_to_look(serve: Serve, connect: Connect) -> None:
    with pytest.raises(NetworkError) as caught:
        connect(serve(RESET).url).deployments.create(Deployment(base_model=BASE), deployment_id="d1")
    assert caught.value.hint == "it may have been created: firectl deployment get d1"
    assert caught.value.exit_code is Exit.RETRY_LATER


def test_an_undelete_whose_answer_is_lost_is_done_when_it_is_back(serve: Serve, connect: Connect) -> None:
    refused = answer(400, {"code": 9, "message": "not deleted"})
    back = {"name": "accounts/acme/deployments/d", "state": "CREATING"}
    assert connect(serve(RESET, refused, answer(200, back)).url).deployments.undelete("d").state == "CREATING"
    with pytest.raises(ApiError, match="not deleted"):
        connect(serve(refused).url).deployments.undelete("d")


def deployment(state: str, ready: int | None = None, message: str = "", **fields: Any) -> Reply:
    stats = {} if ready is None else {"replicaStats": {"readyReplicaCount": ready}}
    return answer(200, {"name": NAME, "state": state, "status": {"code": "OK", "message": message}, **stats, **fields})


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


@pytest.mark.parametrize("gone", [MISSING, deployment("DELETED")])
def test_a_delete_is_waited_for(serve: Serve, connect: Connect, clock: Clock, gone: Reply) -> None:
    seen: list[str | None] = []
    client = connect(serve(deployment("READY", 1), deployment("DELETING"), RESET, gone).url)
    client.deployments.wait_deleted(
        "d", 60, on_change=lambda found: seen.append(found.state), clock=clock, sleep=clock.sleep
    )
    assert seen == ["READY", "DELETING", "DELETED"]
