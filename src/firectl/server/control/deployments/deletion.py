"""When may a deployment be deleted, and which of its loads (deployed models) does an undelete restore?

Runs inside a transaction of `deployments`. Changes rows only: reconcile stops replicas and loads addons.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from firectl.errors import failed_precondition
from firectl.schemas.base import Status, format_time
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.words import DeploymentState, LoadState, ModelState
from firectl.server.store import Tx
from firectl.server.store.defaults import give_up_default, make_default
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

UNDELETE_WITHIN = timedelta(days=7)
RECENT = timedelta(hours=1)
RECENT_REQUESTS = "deployment has received inference requests in the last hour, pass --ignore-checks to skip this check"


def delete(tx: Tx, row: DeploymentRow, now: datetime, *, hard: bool, ignore_checks: bool) -> None:
    """Mark the deployment DELETING and its loads UNDEPLOYING. A second delete can only make a soft delete hard."""
    if row.state in (DeploymentState.DELETING, DeploymentState.DELETED):
        if hard:
            tx.deployments.update(row.name, purge_time=now, update_time=now)
        return
    if not ignore_checks:
        _check(tx, row, now)
    loads = tx.deployed_models.of_deployment(row.name)
    tx.deployments.update(
        row.name,
        state=DeploymentState.DELETING,
        status=Status.of(None, "stopping replicas"),
        desired_replicas=0,
        delete_time=now,
        purge_time=now if hard else now + UNDELETE_WITHIN,
        update_time=now,
        taken_along=[_saved(load) for load in loads if load.state != LoadState.UNDEPLOYING],
    )
    status = Status.of(None, "the deployment is being deleted")
    for load in loads:
        give_up_default(tx, load, now)
        # Set here and not by reconcile: before its next round the load could become the default of its model again.
        if load.state != LoadState.UNDEPLOYING:
            tx.deployed_models.update(load.name, state=LoadState.UNDEPLOYING, status=status, update_time=now)


def restore_loads(tx: Tx, row: DeploymentRow, now: datetime) -> list[str]:
    """Restore the loads that the deployment had when it was deleted. Return why a load was not restored, one text each.

    A load keeps its name. If it was the default of its model, it becomes the default again, unless there is another.
    """
    lost = []
    for saved in row.taken_along or ():
        load = _restored(saved, row, now)
        model = tx.models.get(load.model)
        if model is None:
            lost.append(f"{load.model} was deleted")
        elif model.state != ModelState.READY:
            lost.append(f"{load.model} is {model.state}")
        elif load.model_hash is not None and model.content_hash != load.model_hash:
            lost.append(f"the files of {load.model} have changed")
        else:
            tx.deployed_models.delete(load.name)  # a load that failed still has its row
            tx.deployed_models.insert(load)
            if saved["default"] and tx.deployed_models.default_of(load.model) is None:
                make_default(tx, load, now)
    return lost


def _saved(load: DeployedModelRow) -> dict[str, Any]:
    """Return the JSON to save of a load. It includes the creation time, because hot reload merges the latest load."""
    return {
        "name": load.name,
        "account": load.account,
        "model": load.model,
        "modelHash": load.model_hash,
        "resource": load.resource.to_wire(),
        "default": load.default,
        "createTime": format_time(load.create_time),
    }


def _restored(saved: Mapping[str, Any], row: DeploymentRow, now: datetime) -> DeployedModelRow:
    return DeployedModelRow(
        name=saved["name"],
        account=saved["account"],
        resource=DeployedModel.model_validate(saved["resource"]),
        model=saved["model"],
        deployment=row.name,
        state=LoadState.DEPLOYING,
        status=Status.of(None, "waiting for the deployment"),
        default=False,
        model_hash=saved["modelHash"],
        create_time=datetime.fromisoformat(saved["createTime"]),
        update_time=now,
    )


def _check(tx: Tx, row: DeploymentRow, now: datetime) -> None:
    if row.last_request_time is not None and now - row.last_request_time < RECENT:
        raise failed_precondition(RECENT_REQUESTS)
    for load in tx.deployed_models.of_deployment(row.name):
        if not load.default:
            continue
        others = [
            other
            for other in tx.deployed_models.of_model(load.model)
            if other.name != load.name and other.state != LoadState.UNDEPLOYING
        ]
        if others:
            raise failed_precondition(
                f"deployment {row.name} is the default of model {load.model}, which has other deployments "
                f"({', '.join(other.deployment for other in others)}), pass --ignore-checks to skip this check",
                hint=f"firectl deployed-model update {others[0].name.rsplit('/', 1)[1]} --default",
            )
