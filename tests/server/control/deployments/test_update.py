"""What an update and a scale change on a deployment, and what they refuse."""

from __future__ import annotations

import asyncio

import pytest

from firectl.errors import ApiError, Code
from firectl.schemas.base import Status
from firectl.schemas.words import DeploymentState
from firectl.server.control.deployments import deployments, loading
from firectl.server.platform import Platform
from tests.server.control.still import CALLER, ME, D, create, load, row, update
from tests.server.process import Api, Refusal


def bounds(platform: Platform) -> tuple[int | None, int | None, int]:
    """(minimum, maximum, wanted now)."""
    found = row(platform)
    return found.resource.min_replica_count, found.resource.max_replica_count, found.desired_replicas


def test_the_longest_context_can_be_changed_up_to_the_models_own(api: Api, base: str) -> None:
    deployment = api.parked(base)
    assert api.ok("PATCH", f"deployments/{deployment}", {"maxContextLength": 64})["maxContextLength"] == 64
    said = api.refused("PATCH", f"deployments/{deployment}", {"maxContextLength": 513})
    assert said == Refusal(400, 3, "max_context_length is 513, the model's own is 512", None)


def test_an_update_changes_what_its_mask_names_and_nothing_else(api: Api, base: str) -> None:
    deployment = api.parked(base, displayName="Before", description="stays")
    body = {"displayName": "After", "description": "not this", "autoscalingPolicy": {"scaleUpWindow": "60s"}}
    mask = "display_name,autoscaling_policy.scale_up_window"
    changed = api.ok("PATCH", f"deployments/{deployment}", body, updateMask=mask)
    assert (changed["displayName"], changed["description"]) == ("After", "stays")
    assert changed["autoscalingPolicy"] == {
        "scaleUpWindow": "60s",
        "scaleDownWindow": "600s",
        "scaleToZeroWindow": "3600s",
        "loadTargets": {"default": 0.8},
    }
    cleared = api.ok("PATCH", f"deployments/{deployment}", {}, updateMask="displayName")
    assert "displayName" not in cleared
    assert cleared["updateTime"] > changed["updateTime"]


def test_an_update_without_a_mask_changes_what_the_body_carries_zero_and_false_included(api: Api, base: str) -> None:
    deployment = api.parked(base, displayName="Before", enableSessionAffinity=True)
    body = {"baseModel": base, "displayName": "", "enableSessionAffinity": False, "maxReplicaCount": 0}
    changed = api.ok("PATCH", f"deployments/{deployment}", body)
    assert (changed["displayName"], changed["enableSessionAffinity"], changed["maxReplicaCount"]) == ("", False, 0)


def test_what_was_read_can_be_sent_back(api: Api, base: str) -> None:
    deployment = api.parked(base, deploymentShape="default", enableAddons=True)
    read = api.deployment(deployment)
    again = api.ok("PATCH", f"deployments/{deployment}", {**read, "description": "new"})
    assert again["description"] == "new"
    assert again["deploymentShape"] == read["deploymentShape"]


@pytest.mark.parametrize(
    ("body", "mask", "message"),
    [
        ({"baseModel": "accounts/acme/models/other"}, "", "base_model cannot be changed"),
        ({"enableAddons": True}, "", "enable_addons cannot be changed"),
        ({"precision": "FP8"}, "precision", "precision cannot be changed"),
        ({"state": "READY"}, "state", "update_mask: state is set by the server"),
        (
            {"replicaStats": {"readyReplicaCount": 3}},
            "replica_stats",
            "update_mask: replica_stats is set by the server",
        ),
        ({}, "frobs", "update_mask: Deployment has no field 'frobs'"),
        ({"minReplicaCount": 3}, "", "min_replica_count (3) must not be greater than max_replica_count (0)"),
        (
            {"autoscalingPolicy": {"scaleToZeroWindow": "1s"}},
            "",
            "autoscaling_policy.scale_to_zero_window must be at least 5m, it is 1s",
        ),
    ],
)
def test_what_cannot_change_is_named(api: Api, base: str, body: object, mask: str, message: str) -> None:
    if api.call("GET", "deployments/fixed").status_code == 404:
        api.parked(base, "fixed")
    before = {**api.deployment("fixed"), "state": "", "status": "", "updateTime": ""}
    assert api.refused("PATCH", "deployments/fixed", body, updateMask=mask) == Refusal(400, 3, message, None)
    assert {**api.deployment("fixed"), "state": "", "status": "", "updateTime": ""} == before


def test_false_for_an_absent_field_is_no_change(api: Api, base: str) -> None:
    deployment = api.parked(base)
    body = {"enableAddons": False, "acceleratorCount": 0, "precision": "", "displayName": "x"}
    assert api.ok("PATCH", f"deployments/{deployment}", body)["displayName"] == "x"


def test_a_replica_count_must_be_one(api: Api, base: str) -> None:
    deployment = api.parked(base)
    said = api.refused("PATCH", f"deployments/{deployment}:scale", {"replicaCount": -1})
    assert said == Refusal(400, 3, "replica_count must not be negative, it is -1", None)
    said = api.refused("PATCH", f"deployments/{deployment}:scale", {})
    assert said == Refusal(400, 3, "request body: replicaCount is missing", None)


@pytest.mark.parametrize(
    ("made", "count", "expected"),
    [
        ({}, 0, (0, 1, 0)),
        ({}, 1, (0, 1, 1)),
        ({}, 3, (0, 3, 3)),
        ({"minReplicaCount": 1, "maxReplicaCount": 3}, 2, (1, 3, 2)),
        ({"minReplicaCount": 2, "maxReplicaCount": 3}, 1, (1, 3, 1)),
        ({"minReplicaCount": 1}, 0, (0, 1, 0)),
        ({"maxReplicaCount": 0}, 2, (0, 2, 2)),
    ],
)
def test_scaling_runs_that_many_and_bounds_give_way(
    still: Platform, made: dict[str, int], count: int, expected: tuple[int, int, int]
) -> None:
    create(still, **made)
    deployments.scale(still, CALLER, D, count)
    assert bounds(still) == expected


@pytest.mark.parametrize(
    ("made", "scaled", "changed", "expected"),
    [
        ({"maxReplicaCount": 3}, 3, {"maxReplicaCount": 2}, (0, 2, 2)),
        ({"maxReplicaCount": 3}, 1, {"minReplicaCount": 2}, (2, 3, 2)),
        ({"maxReplicaCount": 3}, 2, {"displayName": "x"}, (0, 3, 2)),
        ({"maxReplicaCount": 3}, 0, {"maxReplicaCount": 2}, (0, 2, 0)),
        ({}, 1, {"maxReplicaCount": 0}, (0, 0, 0)),
        ({"maxReplicaCount": 0}, None, {"maxReplicaCount": 2}, (0, 2, 1)),
        ({"maxReplicaCount": 0}, None, {"minReplicaCount": 2, "maxReplicaCount": 2}, (2, 2, 2)),
    ],
)
def test_new_bounds_move_the_number_of_replicas_into_them(
    still: Platform,
    made: dict[str, int],
    scaled: int | None,
    changed: dict[str, object],
    expected: tuple[int, int, int],
) -> None:
    create(still, **made)
    if scaled is not None:
        deployments.scale(still, CALLER, D, scaled)
    update(still, **changed)
    assert bounds(still) == expected


def test_all_deployments_together_stay_under_the_cap(still: Platform) -> None:
    create(still, "one", minReplicaCount=2)
    create(still, "two")
    with pytest.raises(ApiError) as raised:
        create(still, minReplicaCount=2)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert raised.value.message == (
        f"2 replicas for {D} do not fit: this platform runs at most 4 in total (--max-replicas), "
        f"3 are taken by {ME}/deployments/one (2), {ME}/deployments/two (1)"
    )
    create(still)
    with pytest.raises(ApiError) as raised:
        deployments.scale(still, CALLER, D, 2)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert bounds(still) == (0, 1, 1)
    deployments.scale(still, CALLER, f"{ME}/deployments/one", 0)
    deployments.scale(still, CALLER, D, 2)
    assert bounds(still) == (0, 2, 2)


def test_a_failed_deployment_can_be_renamed_but_runs_no_replicas(still: Platform) -> None:
    create(still)
    with still.store.begin() as tx:
        tx.deployments.update(
            D, state=DeploymentState.FAILED, status=Status.of(Code.INTERNAL, "the engine does not start")
        )
    assert update(still, displayName="still here").display_name == "still here"
    with pytest.raises(ApiError) as raised:
        deployments.scale(still, CALLER, D, 0)
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert raised.value.message == f"deployment {D} is FAILED and runs no replicas: the engine does not start"


def test_an_update_leaves_what_reconcile_wrote(still: Platform) -> None:
    create(still)
    with still.store.begin() as tx:
        tx.deployments.update(D, state="READY", served_folder="models/base", merge_record={"tensors_changed": 1})
    update(still, displayName="x")
    found = row(still)
    assert (found.state, found.served_folder, found.merge_record) == ("READY", "models/base", {"tensors_changed": 1})


def test_every_call_that_writes_wakes_reconcile(still: Platform) -> None:
    def is_awake() -> bool:
        return asyncio.run(still.wakeup.wait(0))

    create(still, enableAddons=True)
    assert is_awake()
    loaded = load(still, "a1")
    assert is_awake()
    loading.unload(still, CALLER, loaded.name or "")
    assert is_awake()
    deployments.scale(still, CALLER, D, 0)
    assert is_awake()
    update(still, displayName="x")
    assert is_awake()
    deployments.delete(still, CALLER, D)
    assert is_awake()
    assert not is_awake()
