"""How does a deployment scaled to zero get a replica without anybody scaling it? Within the cap, or not at all."""

from __future__ import annotations

from datetime import datetime

from firectl.schemas.words import DeploymentState
from firectl.server.store import Tx
from firectl.server.store.capacity import reserve


def wake(tx: Tx, deployment: str, max_replicas: int, now: datetime) -> bool:
    """Want a replica of a deployment that is scaled to zero; whether that changed anything.

    A parked one stays parked. ApiError RESOURCE_EXHAUSTED when this platform has no room for one more.
    """
    row = tx.deployments.get(deployment)
    if (
        row is None
        or row.desired_replicas > 0
        or row.state not in (DeploymentState.CREATING, DeploymentState.READY, DeploymentState.UPDATING)
    ):
        return False
    if row.resource.max_replica_count == 0:
        return False
    reserve(tx, deployment, 1, max_replicas)
    return tx.deployments.update(deployment, desired_replicas=1, woken_time=now)
