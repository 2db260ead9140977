"""What does a request for a deployment that is scaled to zero write?

It sets the desired replicas to one, if the cap allows it.
"""

from __future__ import annotations

from datetime import datetime

from firectl.schemas.words import DeploymentState
from firectl.server.store import Tx
from firectl.server.store.capacity import reserve


def wake(tx: Tx, deployment: str, max_replicas: int, now: datetime) -> bool:
    """Set the desired replicas of a deployment that is scaled to zero to one. Returns whether that changed the row.

    A parked one (maximum 0) stays parked. RESOURCE_EXHAUSTED when the cap has no room for one more.
    """
    row = tx.deployments.get(deployment)
    if row is None or row.desired_replicas > 0 or row.resource.max_replica_count == 0:
        return False
    if row.state not in (DeploymentState.CREATING, DeploymentState.READY, DeploymentState.UPDATING):
        return False
    reserve(tx, deployment, 1, max_replicas)
    return tx.deployments.update(deployment, desired_replicas=1, woken_time=now)
