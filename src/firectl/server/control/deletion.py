"""When may a deployment go, and what goes with it? Inside a transaction of `deployments`; reconcile stops what runs."""

from __future__ import annotations

from datetime import datetime, timedelta

from firectl.errors import ApiError, Code
from firectl.schemas import deployed_model as loads
from firectl.schemas import deployment as states
from firectl.schemas.base import Status
from firectl.server.control.defaults import give_up_default
from firectl.server.platform import Platform
from firectl.server.rows import DeploymentRow
from firectl.server.store import Tx

RECENT = timedelta(hours=1)
RECENT_REQUESTS = "deployment has received inference requests in the last hour, pass --ignore-checks to skip this check"


def delete(
    platform: Platform, tx: Tx, row: DeploymentRow, undelete_within: timedelta, *, hard: bool, ignore_checks: bool
) -> None:
    """Mark it DELETING; a second delete changes nothing, but makes a soft one hard where it says so."""
    now = platform.clock()
    if row.state in (states.DELETING, states.DELETED):
        if hard:
            tx.deployments.update(row.name, purge_time=now, update_time=now)
        return
    if not ignore_checks:
        _check(tx, row, now)
    tx.deployments.update(
        row.name,
        state=states.DELETING,
        status=Status.of(None, "stopping replicas"),
        desired_replicas=0,
        delete_time=now,
        purge_time=now if hard else now + undelete_within,
        update_time=now,
    )
    for place in tx.deployed_models.of_deployment(row.name):
        give_up_default(tx, place, now)


def _check(tx: Tx, row: DeploymentRow, now: datetime) -> None:
    if row.last_request_time is not None and now - row.last_request_time < RECENT:
        raise ApiError(Code.FAILED_PRECONDITION, RECENT_REQUESTS)
    for place in tx.deployed_models.of_deployment(row.name):
        if not place.default:
            continue
        others = [
            other
            for other in tx.deployed_models.of_model(place.model)
            if other.name != place.name and other.state != loads.UNDEPLOYING
        ]
        if others:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"deployment {row.name} is the default of model {place.model}, which has other deployments "
                f"({', '.join(other.deployment for other in others)}), pass --ignore-checks to skip this check",
                hint=f"firectl deployed-model update {others[0].name.rsplit('/', 1)[1]} --default",
            )
