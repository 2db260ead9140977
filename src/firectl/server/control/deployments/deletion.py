"""When may a deployment go, what goes with it, and what comes back with an undelete?

Inside a transaction of `deployments`; reconcile stops what runs, and loads what came back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from firectl.errors import ApiError, Code
from firectl.schemas.base import Status, format_time
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.words import DeploymentState, LoadState, ModelState
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.defaults import give_up_default, make_default
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

RECENT = timedelta(hours=1)
RECENT_REQUESTS = "deployment has received inference requests in the last hour, pass --ignore-checks to skip this check"


def delete(
    platform: Platform, tx: Tx, row: DeploymentRow, undelete_within: timedelta, *, hard: bool, ignore_checks: bool
) -> None:
    """Mark it DELETING; a second delete changes nothing, but makes a soft one hard where it says so."""
    now = platform.clock()
    if row.state in (DeploymentState.DELETING, DeploymentState.DELETED):
        if hard:
            tx.deployments.update(row.name, purge_time=now, update_time=now)
        return
    if not ignore_checks:
        _check(tx, row, now)
    places = tx.deployed_models.of_deployment(row.name)
    tx.deployments.update(
        row.name,
        state=DeploymentState.DELETING,
        status=Status.of(None, "stopping replicas"),
        desired_replicas=0,
        delete_time=now,
        purge_time=now if hard else now + undelete_within,
        update_time=now,
        taken_along=[_kept(place) for place in places if place.state != LoadState.UNDEPLOYING],
    )
    leaving = Status.of(None, "the deployment is being deleted")
    for place in places:
        give_up_default(tx, place, now)
        # Now, and not when the deployment is next looked at: meanwhile it could become the default of its model again.
        if place.state != LoadState.UNDEPLOYING:
            tx.deployed_models.update(place.name, state=LoadState.UNDEPLOYING, status=leaving, update_time=now)


def bring_back(tx: Tx, row: DeploymentRow, now: datetime) -> list[str]:
    """Deploy on it again what its delete took along; which models are not, and why, in words.

    A row comes back under its name, and as the default of its model where no other place has become that meanwhile.
    """
    lost = []
    for kept in row.taken_along or ():
        load = _restored(kept, row, now)
        model = tx.models.get(load.model)
        if model is None:
            lost.append(f"{load.model} is gone")
        elif model.state != ModelState.READY:
            lost.append(f"{load.model} is {model.state}")
        elif load.model_hash is not None and model.content_hash != load.model_hash:
            lost.append(f"the files of {load.model} are others now")
        else:
            tx.deployed_models.delete(load.name)  # still leaving, to be read, where its load had failed
            tx.deployed_models.insert(load)
            if kept["default"] and tx.deployed_models.default_of(load.model) is None:
                make_default(tx, load, now)
    return lost


def _kept(place: DeployedModelRow) -> dict[str, Any]:
    """A row as it is kept beside its deployment. Its age too: of two loads, the later one is merged (hot reload)."""
    return {
        "name": place.name,
        "account": place.account,
        "model": place.model,
        "modelHash": place.model_hash,
        "resource": place.resource.to_wire(),
        "default": place.default,
        "createTime": format_time(place.create_time),
    }


def _restored(kept: Mapping[str, Any], row: DeploymentRow, now: datetime) -> DeployedModelRow:
    return DeployedModelRow(
        name=kept["name"],
        account=kept["account"],
        resource=DeployedModel.model_validate(kept["resource"]),
        model=kept["model"],
        deployment=row.name,
        state=LoadState.DEPLOYING,
        status=Status.of(None, "waiting for the deployment"),
        default=False,
        model_hash=kept["modelHash"],
        create_time=datetime.fromisoformat(kept["createTime"]),
        update_time=now,
    )


def _check(tx: Tx, row: DeploymentRow, now: datetime) -> None:
    if row.last_request_time is not None and now - row.last_request_time < RECENT:
        raise ApiError(Code.FAILED_PRECONDITION, RECENT_REQUESTS)
    for place in tx.deployed_models.of_deployment(row.name):
        if not place.default:
            continue
        others = [
            other
            for other in tx.deployed_models.of_model(place.model)
            if other.name != place.name and other.state != LoadState.UNDEPLOYING
        ]
        if others:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"deployment {row.name} is the default of model {place.model}, which has other deployments "
                f"({', '.join(other.deployment for other in others)}), pass --ignore-checks to skip this check",
                hint=f"firectl deployed-model update {others[0].name.rsplit('/', 1)[1]} --default",
            )
