"""What does a request write when its deployment is scaled to zero?

The request sets the desired replicas to one, if the limit of the platform allows one more.
"""

from __future__ import annotations

from datetime import datetime

from firectl.schemas.words import DeploymentState
from firectl.server.store import Tx
from firectl.server.store.capacity import reserve


def wake(tx: Tx, deployment: str, max_replicas: int, now: datetime) -> bool:
    """If a deployment is scaled to zero, set its desired replicas to one. Return whether the row changed.

    A parked deployment (maximum 0) is not changed. RESOURCE_EXHAUSTED when the platform's limit is reached.
    """
    row = tx.deployments.get(deployment)
    if row is None or row.desired_replicas > 0 or row.resource.max_replica_count == 0:
        return False
    if row.state not in (DeploymentState.CREATING, DeploymentState.READY, DeploymentState.UPDATING):
        return False
    reserve(tx, deployment, 1, max_replicas)
    return tx.deployments.update(deployment, desired_replicas=1, woken_time=now)
