"""How many replicas should a deployment have: none after a while without requests, else as its load asks for? Pure.

Everything is told: the row, what was asked of it, and the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from firectl.schemas.deployment import AutoscalingPolicy
from firectl.schemas.words import DeploymentState, LoadState
from firectl.server.lifecycle.observed import Seen
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

SCALE_UP = timedelta(seconds=30)
SCALE_DOWN = timedelta(minutes=10)
SCALE_TO_ZERO = timedelta(hours=1)
LOAD_TARGETS: Mapping[str, float] = {"default": 0.8}


@dataclass(frozen=True)
class Observation:
    """What was asked of a deployment in one stretch of time that ended at `at`, per second: requests, tokens, and how
    many requests were in flight on average."""

    at: datetime
    in_flight: float
    requests: float
    generated_tokens: float


def asked_for(seen: Observation, targets: Mapping[str, float], slots: int) -> int:
    """How many replicas keep a load at or below every target, each with `slots` requests at once."""
    measures = {
        "default": seen.in_flight / slots,
        "requests_per_second": seen.requests,
        "tokens_generated_per_second": seen.generated_tokens,
    }
    return max((_needed(measures[name], target) for name, target in targets.items() if name in measures), default=0)


def suggest(
    observations: Sequence[Observation], policy: AutoscalingPolicy, desired: int, low: int, high: int, slots: int
) -> int | None:
    """Another number of replicas that the load asks for; None to leave it.

    Up once every observation of the scale-up window asks for more (by the least of them), down once every one of the
    scale-down window asks for less. Never below 1: a deployment without requests is another matter. `observations` are
    of the time since the number last changed, oldest first, so that each change is given its whole window.
    """
    if not observations or desired == 0:
        return None
    low, high = max(low, 1), max(high, 1)
    targets = policy.load_targets or LOAD_TARGETS
    wanted = [(seen.at, min(max(asked_for(seen, targets, slots), low), high)) for seen in observations]
    end = wanted[-1][0]

    def within(window: timedelta) -> list[int]:
        """What was wanted in the window up to now; nothing while it is not over."""
        begin = end - window
        return [count for at, count in wanted if at >= begin] if wanted[0][0] <= begin else []

    up = within(SCALE_UP if policy.scale_up_window is None else policy.scale_up_window)
    if up and min(up) > desired:
        return min(up)
    down = within(SCALE_DOWN if policy.scale_down_window is None else policy.scale_down_window)
    if down and max(down) < desired:
        return max(down)
    return None


def idle_from(row: DeploymentRow, rows: Sequence[DeployedModelRow], seen: Seen) -> datetime | None:
    """When a deployment will have been without requests for long enough to run no replica; None where it never will."""
    if row.desired_replicas == 0 or (row.resource.min_replica_count or 0) > 0:
        return None
    if row.state not in (DeploymentState.READY, DeploymentState.UPDATING) or seen.in_flight > 0:
        return None
    if any(load.state == LoadState.DEPLOYING for load in rows):
        return None
    policy = row.resource.autoscaling_policy or AutoscalingPolicy()
    window = SCALE_TO_ZERO if policy.scale_to_zero_window is None else policy.scale_to_zero_window
    times = (row.woken_time, row.last_request_time, seen.last_request, row.create_time)
    return max(time for time in times if time is not None) + window


def _needed(load: float, target: float) -> int:
    # A hair above a whole number is that number: sums of times are not exact.
    return math.ceil(load / target - 1e-6)
