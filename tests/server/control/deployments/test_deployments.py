"""`server/control/deployments/deployments.py`: what a create stores and refuses, and what lists and reads show."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl.names import random_id
from firectl.server.control.deployments import deployments
from firectl.server.platform import Platform
from tests.server.control.still import CALLER, D, create, row
from tests.server.folders import write_base
from tests.server.process import Api, Refusal


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


@pytest.mark.parametrize("validate_only", [True, False])
def test_a_deployment_that_cannot_be_is_refused_also_when_it_is_only_validated(
    api: Api, base: str, adapter: str, validate_only: bool
) -> None:
    for fields in ({"baseModel": base, "precision": "INT3"}, {"baseModel": adapter, "enableAddons": True}):
        deployment = f"no-{random_id()}"
        said = api.refused("POST", "deployments", fields, deploymentId=deployment, validateOnly=validate_only)
        assert (said.status, said.code) == (400, 3)
        assert api.call("GET", f"deployments/{deployment}").status_code == 404


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


def test_the_merge_record_is_shown_in_wire_names(still: Platform) -> None:
    create(still)
    record = {"tensors_changed": 1, "tensors_total": 3, "delta_norm": 0.5, "adapter_hash": "sha256:a", "deltas": {}}
    with still.store.begin() as tx:
        tx.deployments.update(D, merge_record=record)
    told = deployments.merge_record(still, CALLER, D)
    assert told == {
        "tensorsChanged": 1,
        "tensorsTotal": 3,
        "deltaNorm": 0.5,
        "adapterHash": "sha256:a",
        "model": row(still).model,
    }
