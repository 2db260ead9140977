"""How many replicas should a deployment have? 0 after a time without requests, else what its traffic needs. Pure."""

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
    """The traffic of a deployment in an interval that ended at the time `at`.

    `in_flight` is the average number of requests in flight; `requests` and `generated_tokens` are per second.
    """

    at: datetime
    in_flight: float
    requests: float
    generated_tokens: float


def needed(seen: Observation, targets: Mapping[str, float], slots: int) -> int:
    """Return how many replicas keep the traffic at or below every target. A replica has `slots` requests at once."""
    measures = {
        "default": seen.in_flight / slots,
        "requests_per_second": seen.requests,
        "tokens_generated_per_second": seen.generated_tokens,
    }
    # Sums of times are inexact, so a quotient just above a whole number is rounded down to that number.
    counts = (math.ceil(measures[name] / target - 1e-6) for name, target in targets.items() if name in measures)
    return max(counts, default=0)


def suggest(
    observations: Sequence[Observation], policy: AutoscalingPolicy, desired: int, low: int, high: int, slots: int
) -> int | None:
    """Return the number of replicas that the traffic needs; None to keep `desired`.

    Scales up if every observation in the scale-up window needs more, to the smallest number needed there. Scales
    down if every observation in the scale-down window needs fewer, to the largest number needed there. Never returns
    0: `idle_from` decides about that. `observations` are ordered from old to new and begin after the last change of
    `desired`, so that each change waits a whole window.
    """
    if not observations or desired == 0:
        return None
    low, high = max(low, 1), max(high, 1)
    targets = policy.load_targets or LOAD_TARGETS
    wanted = [(seen.at, min(max(needed(seen, targets, slots), low), high)) for seen in observations]
    end = wanted[-1][0]

    def within(window: timedelta) -> list[int]:
        """Return the numbers needed during the latest `window`; empty if the observations do not cover all of it."""
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
    """Return when a deployment scales to zero if no more requests come; None if it does not."""
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
