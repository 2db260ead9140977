"""Rules about replicas, on rows alone: nothing is started, so that what a call writes can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firectl.errors import ApiError, Code
from firectl.schemas.base import Status
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.schemas.words import DeploymentState, ModelKind
from firectl.server.access.auth import Authenticator, Caller
from firectl.server.access.signing import Signer
from firectl.server.control.accounts import accounts
from firectl.server.control.deployments import deployments, loading
from firectl.server.control.deployments.deployments import CreateOptions
from firectl.server.disk.paths import Paths
from firectl.server.platform import Platform, PlatformSettings
from firectl.server.replicas.supervisor import Supervisor, utc_now
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store
from firectl.server.store.rows import DeploymentRow, ModelRow
from tests.server.folders import write_adapter

ME = "accounts/me"
CALLER = Caller(ME, f"{ME}/users/owner")
D = f"{ME}/deployments/d"


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose loop was never started, with a READY base and an adapter of it; 4 replicas, 2 addons at most."""
    paths = Paths(tmp_path)
    paths.create()
    store = Store(f"sqlite:///{paths.database}")
    accounts.bootstrap(store, ME, "fw_key", utc_now())
    wakeup = Wakeup()
    write_adapter(tmp_path / "models" / "adapter")
    now = datetime.now(UTC)
    with store.begin() as tx:
        for name, kind, base, folder in (
            ("base", ModelKind.BASE, None, "models/base"),
            ("a1", ModelKind.ADDON, f"{ME}/models/base", "models/adapter"),
            ("a2", ModelKind.ADDON, f"{ME}/models/base", "models/adapter"),
            ("a3", ModelKind.ADDON, f"{ME}/models/base", "models/adapter"),
        ):
            tx.models.insert(
                ModelRow(
                    name=f"{ME}/models/{name}", account=ME, resource=Model(), state="READY", kind=kind, base=base,
                    folder=folder, content_hash=f"sha256:{name}", create_time=now, update_time=now,
                )
            )  # fmt: skip
    yield Platform(
        account=ME,
        url="http://127.0.0.1:1",
        paths=paths,
        settings=PlatformSettings(max_replicas=4, max_addons=2),
        store=store,
        wakeup=wakeup,
        supervisor=Supervisor(store, tmp_path, ME, wakeup),
        authenticator=Authenticator(store, utc_now),
        signer=Signer(b"key", utc_now),
    )
    store.close()


def create(platform: Platform, deployment_id: str = "d", /, **fields: object) -> Deployment:
    body = Deployment.model_validate({"baseModel": "base", **fields})
    return deployments.create(platform, CALLER, ME, body, CreateOptions(deployment_id=deployment_id))


def update(platform: Platform, **fields: object) -> Deployment:
    body = Deployment.model_validate(fields)
    return deployments.update(platform, CALLER, D, body, fields, None)


def row(platform: Platform, name: str = D) -> DeploymentRow:
    with platform.store.read() as tx:
        found = tx.deployments.get(name)
    assert found is not None
    return found


def bounds(platform: Platform) -> tuple[int | None, int | None, int]:
    """(minimum, maximum, wanted now)."""
    found = row(platform)
    return found.resource.min_replica_count, found.resource.max_replica_count, found.desired_replicas


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


def test_the_merge_record_is_told_as_it_travels(still: Platform) -> None:
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


def test_a_deployment_holds_as_many_addons_as_an_engine_has_room_for(still: Platform) -> None:
    create(still, enableAddons=True)
    for name in ("a1", "a2", "a1"):
        loading.load(still, CALLER, ME, DeployedModel(model=name, deployment="d"), replace=False)
    with pytest.raises(ApiError) as raised:
        loading.load(still, CALLER, ME, DeployedModel(model="a3", deployment="d"), replace=False)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert raised.value.message == f"deployment {D} holds 2 addons; the limit is 2"


def test_a_load_is_bound_to_the_weights_it_was_asked_for(still: Platform) -> None:
    create(still, enableAddons=True)
    made = loading.load(still, CALLER, ME, DeployedModel(model="a1", deployment="d"), replace=False)
    with still.store.read() as tx:
        found = tx.deployed_models.get(made.name or "")
    assert found is not None
    assert found.model_hash == "sha256:a1"


def test_a_pair_on_its_way_out_can_be_loaded_anew_beside_it(still: Platform) -> None:
    create(still, enableAddons=True)
    first = loading.load(still, CALLER, ME, DeployedModel(model="a1", deployment="d"), replace=False)
    loading.unload(still, CALLER, first.name or "")
    second = loading.load(still, CALLER, ME, DeployedModel(model="a1", deployment="d"), replace=False)
    assert second.name != first.name
    assert second.default is True
    leaving = loading.get(still, CALLER, first.name or "")
    assert (leaving.state, leaving.default) == ("UNDEPLOYING", False)


def test_every_call_that_writes_rings_the_bell(still: Platform) -> None:
    import asyncio

    async def rings() -> bool:
        return await still.wakeup.wait(0)

    create(still, enableAddons=True)
    assert asyncio.run(rings())
    loaded = loading.load(still, CALLER, ME, DeployedModel(model="a1", deployment="d"), replace=False)
    assert asyncio.run(rings())
    loading.unload(still, CALLER, loaded.name or "")
    assert asyncio.run(rings())
    deployments.scale(still, CALLER, D, 0)
    assert asyncio.run(rings())
    update(still, displayName="x")
    assert asyncio.run(rings())
    deployments.delete(still, CALLER, D, deployments.DeleteOptions())
    assert asyncio.run(rings())
    assert not asyncio.run(rings())
