"""May this many replicas run? The platform's cap over all deployments together."""

from __future__ import annotations

from firectl.errors import ApiError, Code, invalid
from firectl.server.store import Tx

_SHOWN = 5


def free(tx: Tx, deployment: str, cap: int) -> int:
    """Most replicas that a deployment may have, given what the others want."""
    return cap - sum(row.desired_replicas for row in tx.deployments.active() if row.name != deployment)


def reserve(tx: Tx, deployment: str, wanted: int, cap: int) -> None:
    """RESOURCE_EXHAUSTED, naming the other deployments and the setting, unless `wanted` replicas fit under `cap`.

    INVALID_ARGUMENT where they never can.
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
