"""May so many replicas run? The cap of the platform over all deployments together."""

from __future__ import annotations

from firectl.errors import ApiError, Code
from firectl.server.store import Tx

_SHOWN = 5


def free(tx: Tx, deployment: str, cap: int) -> int:
    """How many replicas a deployment may have at most beside those that others want."""
    return cap - sum(row.desired_replicas for row in tx.deployments.active() if row.name != deployment)


def reserve(tx: Tx, deployment: str, wanted: int, cap: int) -> None:
    """RESOURCE_EXHAUSTED, naming who holds the others and the setting, unless `wanted` replicas fit under `cap`.

    INVALID_ARGUMENT where they never will.
    """
    if wanted > cap:
        raise ApiError(
            Code.INVALID_ARGUMENT,
            f"{wanted} replicas for {deployment} are more than this platform runs in all: {cap} (--max-replicas)",
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
        f"{wanted} replicas for {deployment} do not fit: this platform runs at most {cap} in all (--max-replicas)"
        + (f", {used} are taken by {holders}{more}" if others else ""),
        hint="firectl deployment scale ID --replica-count 0 (or delete ID), or start the platform with a higher limit",
    )
