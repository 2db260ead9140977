"""May this many replicas run? The platform has one limit, `cap`, for the replicas of all deployments together."""

from __future__ import annotations

from firectl.errors import ApiError, Code, invalid
from firectl.server.store import Tx

_SHOWN = 5


def free(tx: Tx, deployment: str, cap: int) -> int:
    """Return how many replicas a deployment may have at most, given the desired replicas of the other deployments."""
    return cap - sum(row.desired_replicas for row in tx.deployments.active() if row.name != deployment)


def reserve(tx: Tx, deployment: str, wanted: int, cap: int) -> None:
    """Check that `wanted` replicas of a deployment fit under `cap`. Writes nothing.

    RESOURCE_EXHAUSTED, naming the other deployments, if they do not fit now. INVALID_ARGUMENT if they can never fit.
    """
    if wanted > cap:
        raise invalid(
            f"{wanted} replicas for {deployment} are more than this platform runs in total: {cap} (--max-replicas)",
            hint=f"firectl local down && firectl local up --max-replicas {wanted}",
        )
    others = [row for row in tx.deployments.active() if row.name != deployment and row.desired_replicas > 0]
    used = sum(row.desired_replicas for row in others)
    if wanted == 0 or used + wanted <= cap:
        return
    holders = ", ".join(f"{row.name} ({row.desired_replicas})" for row in others[:_SHOWN])
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    raise ApiError(
        Code.RESOURCE_EXHAUSTED,
        f"{wanted} replicas for {deployment} do not fit: this platform runs at most {cap} in total (--max-replicas)"
        + (f", {used} are taken by {holders}{more}" if others else ""),
        hint="firectl deployment scale ID --replica-count 0 (or delete ID), or start the platform with a higher limit",
    )
