"""Deployments: what may be created, changed, scaled, deleted and taken back. Parked ones, which need no replica."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firectl.names import random_id
from firectl.schemas.words import ACCELERATORS, PRECISIONS
from firectl.server.store import Store
from tests.server.folders import write_adapter, write_base
from tests.server.process import Api, PlatformProcess, Refusal

QUANTIZED = "addons cannot be enabled with quantized precisions (FP8/FP4)"
BASE = "accounts/fireworks/models/tiny"


def test_a_deployment_has_every_default_filled_in(api: Api, base: str) -> None:
    made = api.ok("POST", "deployments", {"baseModel": base}, deploymentId="defaults", validateOnly=True)
    times = {made.pop("createTime"), made.pop("updateTime")}
    assert len(times) == 1
    assert made == {
        "name": "accounts/acme/deployments/defaults",
        "baseModel": base,
        "state": "CREATING",
        "status": {"code": "OK", "message": "created"},
        "minReplicaCount": 0,
        "maxReplicaCount": 1,
        "desiredReplicaCount": 1,
        "replicaCount": 0,
        "replicaStats": {
            "pendingSchedulingReplicaCount": 1,
            "downloadingModelReplicaCount": 0,
            "initializingReplicaCount": 0,
            "readyReplicaCount": 0,
        },
        "autoscalingPolicy": {
            "scaleUpWindow": "30s",
            "scaleDownWindow": "600s",
            "scaleToZeroWindow": "3600s",
            "loadTargets": {"default": 0.8},
        },
    }
    assert api.refused("GET", "deployments/defaults").status == 404


@pytest.mark.parametrize(
    ("asked", "low", "high", "desired"),
    [
        ({}, 0, 1, 1),
        ({"minReplicaCount": 3}, 3, 3, 3),
        ({"maxReplicaCount": 4}, 0, 4, 1),
        ({"minReplicaCount": 2, "maxReplicaCount": 4}, 2, 4, 2),
        ({"maxReplicaCount": 0}, 0, 0, 0),
    ],
)
def test_bounds_say_how_many_replicas_start(
    api: Api, base: str, asked: dict[str, int], low: int, high: int, desired: int
) -> None:
    made = api.ok("POST", "deployments", {"baseModel": base, **asked}, validateOnly=True)
    assert (made["minReplicaCount"], made["maxReplicaCount"], made["desiredReplicaCount"]) == (low, high, desired)


def test_a_deployment_without_an_id_gets_one(api: Api, base: str) -> None:
    made = api.ok("POST", "deployments", {"baseModel": base, "maxReplicaCount": 0})
    short = made["name"].removeprefix("accounts/acme/deployments/")
    assert len(short) == 8
    assert short.isalnum()
    assert api.deployment(short)["name"] == made["name"]


def test_what_only_the_server_says_is_not_taken_from_the_body(api: Api, base: str) -> None:
    body = {"baseModel": base, "state": "READY", "name": "x", "replicaCount": 9, "createTime": "2020-01-01T00:00:00Z"}
    made = api.ok("POST", "deployments", body, deploymentId="mine", validateOnly=True)
    assert (made["state"], made["name"], made["replicaCount"]) == ("CREATING", "accounts/acme/deployments/mine", 0)
    assert made["createTime"] > "2021"


def test_what_this_machine_cannot_do_is_stored_and_shown(api: Api, base: str) -> None:
    asked = {
        "displayName": "Nominal",
        "acceleratorType": "NVIDIA_B300_288GB",
        "acceleratorCount": 2,
        "precision": "FP8",
        "placement": {"region": "US_IOWA_1"},
        "directRouteType": "INTERNET",
        "directRouteApiKeys": ["k"],
        "draftModel": "accounts/fireworks/models/draft",
        "draftTokenCount": 4,
        "autoTune": {"longPrompt": True},
        "enableSessionAffinity": True,
        "expireTime": "2030-01-01T00:00:00Z",
        "maxContextLength": 128,
    }
    deployment = api.parked(base, **asked)
    shown = api.deployment(deployment)
    assert {field: shown[field] for field in asked} == asked


def test_speculative_decoding_comes_from_the_base_unless_disabled(api: Api, tmp_path: Path) -> None:
    name = api.ready_model(write_base(tmp_path / "b"))
    api.ok(
        "PATCH", f"/v1/{name}", {"defaultDraftModel": "accounts/fireworks/models/draft", "defaultDraftTokenCount": 3}
    )
    made = api.ok("POST", "deployments", {"baseModel": name}, validateOnly=True)
    assert (made["draftModel"], made["draftTokenCount"]) == ("accounts/fireworks/models/draft", 3)
    plain = api.ok("POST", "deployments", {"baseModel": name}, validateOnly=True, disableSpeculativeDecoding=True)
    assert "draftModel" not in plain
    assert "draftTokenCount" not in plain


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"minReplicaCount": 3, "maxReplicaCount": 2},
            "min_replica_count (3) must not be greater than max_replica_count (2)",
        ),
        (
            {"minReplicaCount": 1, "maxReplicaCount": 0},
            "min_replica_count (1) must not be greater than max_replica_count (0)",
        ),
        ({"minReplicaCount": -1}, "min_replica_count must be between 0 and 2147483647, it is -1"),
        ({"acceleratorCount": 2**40}, f"accelerator_count must be between 0 and 2147483647, it is {2**40}"),
        (
            {"maxReplicaCount": 3, "maxWithRevocableReplicaCount": 2},
            "max_with_revocable_replica_count (2) must not be less than max_replica_count (3)",
        ),
        ({"displayName": "x" * 64}, "display_name must be fewer than 64 characters long"),
        (
            {"autoscalingPolicy": {"scaleUpWindow": "3601s"}},
            "autoscaling_policy.scale_up_window must be at most 1h, it is 3601s",
        ),
        (
            {"autoscalingPolicy": {"scaleDownWindow": "7200s"}},
            "autoscaling_policy.scale_down_window must be at most 1h, it is 7200s",
        ),
        (
            {"autoscalingPolicy": {"scaleToZeroWindow": "299s"}},
            "autoscaling_policy.scale_to_zero_window must be at least 5m, it is 299s",
        ),
        (
            {"autoscalingPolicy": {"loadTargets": {"default": 0}}},
            "autoscaling_policy.load_targets.default must be greater than 0, it is 0.0",
        ),
        ({"enableAddons": True, "precision": "FP8"}, QUANTIZED),
        ({"enableAddons": True, "precision": "FP8_MM_KV_ATTN_V2"}, QUANTIZED),
        ({"enableAddons": True, "precision": "FP4_MX_MOE"}, QUANTIZED),
        ({"enableHotReloadLatestAddon": True, "precision": "NF4"}, QUANTIZED),
        (
            {"enableAddons": True, "enableHotReloadLatestAddon": True},
            "enable_addons and enable_hot_reload_latest_addon exclude each other: several addons, or one merged",
        ),
        ({"acceleratorType": "H100"}, f"accelerator_type 'H100' is not one of {', '.join(ACCELERATORS)}"),
        ({"precision": "INT3"}, f"precision 'INT3' is not one of {', '.join(PRECISIONS)}"),
        ({"acceleratorType": "h100 please"}, "accelerator_type: 'h100 please' is not the name of an enum value"),
        ({"placement": {"region": "iowa"}}, "placement.region: 'iowa' is not the name of an enum value"),
        ({"maxContextLength": 513}, "max_context_length is 513, the model's own is 512"),
    ],
)
@pytest.mark.parametrize("validate_only", [True, False])
def test_a_deployment_that_cannot_be_is_refused(
    api: Api, base: str, body: dict[str, object], message: str, validate_only: bool
) -> None:
    deployment = f"no-{random_id()}"
    said = api.refused(
        "POST", "deployments", {"baseModel": base, **body}, deploymentId=deployment, validateOnly=validate_only
    )
    assert said == Refusal(400, 3, message, None)
    assert api.call("GET", f"deployments/{deployment}").status_code == 404


@pytest.mark.parametrize("field", ["enableAddons", "enableHotReloadLatestAddon"])
def test_addons_are_not_for_a_lora(api: Api, adapter: str, base: str, field: str) -> None:
    said = api.refused("POST", "deployments", {"baseModel": adapter, field: True})
    wanted = "enable_addons" if field == "enableAddons" else "enable_hot_reload_latest_addon"
    assert (said.status, said.code) == (400, 3)
    assert said.message == (f"{wanted} is for base models: {adapter} is a LoRA, its deployment serves it alone, merged")
    assert said.hint == f"deploy {base} with addons and load the LoRA onto it, or leave {wanted} out"


def test_the_model_must_be_there_and_ready(api: Api, base: str) -> None:
    assert api.refused("POST", "deployments", {}).message == (
        "base_model is missing: expected the full name of a model"
    )
    said = api.refused("POST", "deployments", {"baseModel": "none"})
    assert said == Refusal(404, 5, "model accounts/acme/models/none not found", None)
    said = api.refused("POST", "deployments", {"baseModel": "accounts/acme/deployments/d"})
    assert (said.status, said.code) == (400, 3)
    half = f"half-{random_id()}"
    api.create_model(half)
    said = api.refused("POST", "deployments", {"baseModel": half})
    assert (said.status, said.code) == (400, 9)
    assert said.message.startswith(f"model accounts/acme/models/{half} is UPLOADING")


def test_a_lora_whose_base_was_deleted_cannot_be_deployed(api: Api, tmp_path: Path, adapter_folder: Path) -> None:
    base = api.ready_model(write_base(tmp_path / "b"))
    adapter = api.ready_model(adapter_folder, base)
    api.ok("DELETE", f"/v1/{base}")
    said = api.refused("POST", "deployments", {"baseModel": adapter, "maxReplicaCount": 0})
    base_id = base.rsplit("/", 1)[1]
    assert said == Refusal(
        400,
        9,
        f"the base model {base} of {adapter} is not on this platform",
        f"firectl -a acme model create {base_id} DIR",
    )


def test_a_name_is_taken_once_even_by_a_deleted_deployment(api: Api, base: str) -> None:
    deployment = api.parked(base)
    name = f"accounts/acme/deployments/{deployment}"
    again = {"baseModel": base, "maxReplicaCount": 0}
    said = api.refused("POST", "deployments", again, deploymentId=deployment)
    assert (said.status, said.code) == (409, 6)
    assert said.message.startswith(f"deployment {name} already exists and is ")
    api.ok("DELETE", f"deployments/{deployment}")
    api.until_deleted(deployment)
    assert api.refused("POST", "deployments", again, deploymentId=deployment) == Refusal(
        409,
        6,
        f"deployment {name} already exists and is DELETED",
        f"firectl deployment undelete {deployment}, or firectl deployment delete {deployment} --hard and create again",
    )
    api.ok("DELETE", f"deployments/{deployment}", hard=True)
    api.until_gone(f"deployments/{deployment}")
    api.parked(base, deployment)


@pytest.mark.parametrize("deployment_id", ["Upper", "a" * 64, "-a", "a_b"])
def test_an_id_that_is_none_is_refused(api: Api, base: str, deployment_id: str) -> None:
    said = api.refused("POST", "deployments", {"baseModel": base}, deploymentId=deployment_id)
    assert (said.status, said.code) == (400, 3)
    assert "is not a valid deployment ID" in said.message


def test_more_replicas_than_the_platform_runs_are_refused_naming_the_setting(api: Api, base: str) -> None:
    said = api.refused("POST", "deployments", {"baseModel": base, "minReplicaCount": 17}, deploymentId="too-many")
    assert said == Refusal(
        400,
        3,
        "17 replicas for accounts/acme/deployments/too-many are more than this platform runs in total: "
        "16 (--max-replicas)",
        "firectl local down && firectl local up --max-replicas 17",
    )
    parked = api.parked(base)
    assert api.refused("PATCH", f"deployments/{parked}:scale", {"replicaCount": 17}).code == 3
    assert api.refused("PATCH", f"deployments/{parked}", {"minReplicaCount": 17, "maxReplicaCount": 17}).code == 3
    assert api.deployment(parked)["maxReplicaCount"] == 0


def test_its_own_model_is_deployed_with_it_unless_disabled(api: Api, adapter: str) -> None:
    first, second = api.parked(adapter), api.parked(adapter)
    alone = f"d-{random_id()}"
    body = {"baseModel": adapter, "maxReplicaCount": 0}
    api.ok("POST", "deployments", body, deploymentId=alone, disableAutoDeploy=True)
    rows = api.ok("GET", "deployedModels", filter=f'model = "{adapter}"')["deployedModels"]
    found = {row["deployment"].rsplit("/", 1)[1]: row["default"] for row in rows}
    assert found == {first: True, second: False}


def test_undelete_remembers_that_its_model_was_not_to_be_deployed(api: Api, adapter: str) -> None:
    made = api.ok("POST", "deployments", {"baseModel": adapter, "maxReplicaCount": 0}, disableAutoDeploy=True)
    deployment = made["name"].rsplit("/", 1)[1]
    api.ok("DELETE", f"deployments/{deployment}")
    api.until_deleted(deployment)
    api.ok("POST", f"deployments/{deployment}:undelete", {})
    assert api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"] == []


def test_the_longest_context_can_be_changed_up_to_the_models_own(api: Api, base: str) -> None:
    deployment = api.parked(base)
    assert api.ok("PATCH", f"deployments/{deployment}", {"maxContextLength": 64})["maxContextLength"] == 64
    said = api.refused("PATCH", f"deployments/{deployment}", {"maxContextLength": 513})
    assert said == Refusal(400, 3, "max_context_length is 513, the model's own is 512", None)


def test_a_list_hides_deleted_deployments_unless_asked(api: Api, base: str) -> None:
    gone, here = api.parked(base), api.parked(base)
    api.ok("DELETE", f"deployments/{gone}")
    api.until_deleted(gone)
    query = {"filter": f"name=*{gone} OR name=*{here}"}
    assert api.names("deployments", "deployments", **query) == [here]
    assert api.names("deployments", "deployments", **query, showDeleted=True) == [gone, here]
    assert api.deployment(gone)["state"] == "DELETED"


def test_deployments_are_listed_oldest_first(api: Api, base: str) -> None:
    names = [api.parked(base, f"{letter}-{random_id()}") for letter in "zma"]
    listed = api.names("deployments", "deployments", pageSize=200)
    assert [name for name in listed if name in names] == names


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


def test_false_for_what_was_never_said_is_no_change(api: Api, base: str) -> None:
    deployment = api.parked(base)
    body = {"enableAddons": False, "acceleratorCount": 0, "precision": "", "displayName": "x"}
    assert api.ok("PATCH", f"deployments/{deployment}", body)["displayName"] == "x"


def test_a_replica_count_must_be_one(api: Api, base: str) -> None:
    deployment = api.parked(base)
    said = api.refused("PATCH", f"deployments/{deployment}:scale", {"replicaCount": -1})
    assert said == Refusal(400, 3, "replica_count must not be negative, it is -1", None)
    said = api.refused("PATCH", f"deployments/{deployment}:scale", {})
    assert said == Refusal(400, 3, "request body: replicaCount is missing", None)


def test_a_soft_delete_can_be_taken_back(api: Api, adapter: str) -> None:
    deployment = api.parked(adapter, displayName="Back again")
    name = f"accounts/acme/deployments/{deployment}"
    api.ok("DELETE", f"deployments/{deployment}")
    api.until_deleted(deployment)
    gone = api.deployment(deployment)
    deleted, purged = (datetime.fromisoformat(gone[field]) for field in ("deleteTime", "purgeTime"))
    assert purged - deleted == timedelta(days=7)
    assert abs(datetime.now(UTC) - deleted) < timedelta(minutes=5)
    assert gone["desiredReplicaCount"] == 0
    assert api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"] == []
    back = api.ok("POST", f"deployments/{deployment}:undelete", {})
    assert (back["name"], back["displayName"]) == (name, "Back again")
    assert back["state"] in ("CREATING", "READY")
    assert "deleteTime" not in back
    assert "purgeTime" not in back
    refs = api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"]
    assert [(ref["deployment"], ref["default"]) for ref in refs] == [(name, True)]


def undeleted(api: Api, deployment: str) -> dict[str, Any]:
    """The answer of an undelete after a delete that does not ask."""
    api.ok("DELETE", f"deployments/{deployment}", ignoreChecks=True)
    api.until_deleted(deployment)
    return api.ok("POST", f"deployments/{deployment}:undelete", {})


def places(api: Api, deployment: str) -> list[dict[str, Any]]:
    """What is deployed on it, by name."""
    asked = f'deployment = "{api.account}/deployments/{deployment}"'
    rows: list[dict[str, Any]] = api.ok("GET", "deployedModels", filter=asked, orderBy="name")["deployedModels"]
    return rows


def test_what_was_loaded_on_a_deployment_comes_back_with_it(api: Api, base: str, adapter: str) -> None:
    deployment = api.parked(base, enableAddons=True)
    body = {"model": adapter, "deployment": deployment, "displayName": "Mine", "public": True}
    api.ok("POST", "deployedModels", body)
    before = places(api, deployment)
    assert len(before) == 2
    back = undeleted(api, deployment)
    assert back["status"] == {"code": "OK", "message": "undeleted"}
    fields = ("name", "model", "displayName", "public", "default", "createTime")
    after = places(api, deployment)
    assert [[row.get(field) for field in fields] for row in after] == [
        [row.get(field) for field in fields] for row in before
    ]
    assert {row["state"] for row in after} <= {"DEPLOYING", "DEPLOYED"}
    assert undeleted(api, deployment)["status"]["message"] == "undeleted"
    assert [row["name"] for row in places(api, deployment)] == [row["name"] for row in before]


def test_an_undelete_leaves_the_default_with_who_has_become_it(api: Api, base: str, adapter: str) -> None:
    first, second = (api.parked(base, enableAddons=True) for _ in range(2))
    for deployment in (first, second):
        api.ok("POST", "deployedModels", {"model": adapter, "deployment": deployment})
    undeleted(api, first)
    defaults = {deployment: [row["default"] for row in places(api, deployment) if row["model"] == adapter]
                for deployment in (first, second)}  # fmt: skip
    assert defaults == {first: [False], second: [True]}


def test_an_undelete_names_what_it_cannot_bring_back(
    api: Api, base: str, adapter: str, adapter_folder: Path, tmp_path: Path
) -> None:
    deployment = api.parked(base, enableAddons=True)
    changed = api.ready_model(adapter_folder, base)
    for model in (adapter, changed):
        api.ok("POST", "deployedModels", {"model": model, "deployment": deployment})
    api.ok("DELETE", f"deployments/{deployment}", ignoreChecks=True)
    api.until_deleted(deployment)
    for model in (adapter, changed):
        api.ok("DELETE", f"/v1/{model}")
    api.ready_model(write_adapter(tmp_path / "other", value=0.25), base, changed.rsplit("/", 1)[1])
    said = api.ok("POST", f"deployments/{deployment}:undelete", {})["status"]["message"]
    assert said == (f"undeleted; not loaded again: {adapter} was deleted; the files of {changed} have changed")
    assert [row["model"] for row in places(api, deployment)] == [base]


def test_only_a_deleted_deployment_can_be_undeleted(api: Api, base: str, adapter: str) -> None:
    deployment = api.parked(base)
    said = api.refused("POST", f"deployments/{deployment}:undelete", {})
    assert (said.status, said.code) == (400, 9)
    assert said.message.endswith(": only a DELETED one can be undeleted")
    orphan = api.parked(adapter)
    api.ok("DELETE", f"deployments/{orphan}")
    api.until_deleted(orphan)
    api.ok("DELETE", f"/v1/{adapter}")
    assert api.refused("POST", f"deployments/{orphan}:undelete", {}) == Refusal(
        404, 5, f"model {adapter} not found", None
    )


def test_a_hard_delete_is_for_good_and_deletes_are_safe_to_repeat(api: Api, base: str) -> None:
    deployment = api.parked(base)
    assert api.ok("DELETE", f"deployments/{deployment}") == {}
    assert api.ok("DELETE", f"deployments/{deployment}") == {}
    api.until_deleted(deployment)
    assert api.ok("DELETE", f"deployments/{deployment}") == {}
    assert api.ok("DELETE", f"deployments/{deployment}", hard=True) == {}
    api.until_gone(f"deployments/{deployment}")
    assert api.refused("DELETE", f"deployments/{deployment}", hard=True) == Refusal(
        404, 5, f"deployment accounts/acme/deployments/{deployment} not found", None
    )


def test_a_deleted_deployment_cannot_be_changed(api: Api, base: str) -> None:
    deployment = api.parked(base)
    api.ok("DELETE", f"deployments/{deployment}")
    api.until_deleted(deployment)
    expected = Refusal(
        400,
        9,
        f"deployment accounts/acme/deployments/{deployment} is DELETED",
        f"firectl deployment undelete {deployment}",
    )
    assert api.refused("PATCH", f"deployments/{deployment}", {"displayName": "x"}) == expected
    assert api.refused("PATCH", f"deployments/{deployment}:scale", {"replicaCount": 0}) == expected


def test_a_deployment_that_served_in_the_last_hour_stays(platform: PlatformProcess, api: Api, base: str) -> None:
    deployment = api.parked(base)
    store = Store(f"sqlite:///{platform.home / 'platform.sqlite'}")

    def served(ago: timedelta) -> None:
        with store.begin() as tx:
            name = f"accounts/acme/deployments/{deployment}"
            assert tx.deployments.update(name, last_request_time=datetime.now(UTC) - ago)

    served(timedelta(minutes=59))
    recent = "deployment has received inference requests in the last hour, pass --ignore-checks to skip this check"
    assert api.refused("DELETE", f"deployments/{deployment}") == Refusal(400, 9, recent, None)
    served(timedelta(minutes=61))
    assert api.ok("DELETE", f"deployments/{deployment}") == {}
    other = deployment = api.parked(base)
    served(timedelta(0))
    assert api.ok("DELETE", f"deployments/{other}", ignoreChecks=True) == {}
    store.close()


def test_the_default_of_a_model_with_other_deployments_stays(api: Api, adapter: str) -> None:
    first, second = api.parked(adapter), api.parked(adapter)
    said = api.refused("DELETE", f"deployments/{first}")
    assert (said.status, said.code) == (400, 9)
    assert said.message == (
        f"deployment accounts/acme/deployments/{first} is the default of model {adapter}, which has other deployments "
        f"(accounts/acme/deployments/{second}), pass --ignore-checks to skip this check"
    )
    assert said.hint is not None
    assert said.hint.startswith("firectl deployed-model update ")
    assert api.ok("DELETE", f"deployments/{second}") == {}
    third = api.parked(adapter)
    assert api.ok("DELETE", f"deployments/{first}", ignoreChecks=True) == {}
    rows = api.ok("GET", "deployedModels", filter=f'model = "{adapter}"')["deployedModels"]
    assert {row["deployment"].rsplit("/", 1)[1] for row in rows if row["default"]} == {third}


def test_there_is_a_merge_record_only_after_a_merge(api: Api, base: str, adapter: str) -> None:
    for model, why in ((base, "it serves a base model as it is"), (adapter, "it is not merged yet")):
        deployment = api.parked(model)
        assert api.refused("GET", f"deployments/{deployment}:mergeRecord") == Refusal(
            404, 5, f"deployment accounts/acme/deployments/{deployment} has no merge record: {why}", None
        )


def test_a_deployment_that_is_not_there_is_not_found(api: Api) -> None:
    missing = Refusal(404, 5, "deployment accounts/acme/deployments/none not found", None)
    assert api.refused("GET", "deployments/none") == missing
    assert api.refused("PATCH", "deployments/none", {"displayName": "x"}) == missing
    assert api.refused("PATCH", "deployments/none:scale", {"replicaCount": 1}) == missing
    assert api.refused("DELETE", "deployments/none") == missing
    assert api.refused("POST", "deployments/none:undelete", {}) == missing
    assert api.refused("GET", "deployments/none:mergeRecord") == missing
