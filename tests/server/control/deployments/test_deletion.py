"""`server/control/deployments/deletion.py`: what a delete refuses and ends, and what an undelete restores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from firectl.server.store import Store
from tests.server.folders import write_adapter
from tests.server.process import Api, PlatformProcess, Refusal


def test_undelete_remembers_that_its_model_was_not_to_be_deployed(api: Api, adapter: str) -> None:
    made = api.ok("POST", "deployments", {"baseModel": adapter, "maxReplicaCount": 0}, disableAutoDeploy=True)
    deployment = made["name"].rsplit("/", 1)[1]
    api.ok("DELETE", f"deployments/{deployment}")
    api.until_deleted(deployment)
    api.ok("POST", f"deployments/{deployment}:undelete", {})
    assert api.ok("GET", f"/v1/{adapter}")["deployedModelRefs"] == []


def test_a_soft_delete_can_be_undone(api: Api, adapter: str) -> None:
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


def test_an_undelete_leaves_the_default_with_its_new_holder(api: Api, base: str, adapter: str) -> None:
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


def test_a_hard_delete_is_final_and_deletes_are_idempotent(api: Api, base: str) -> None:
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
