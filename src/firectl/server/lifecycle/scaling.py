"""How many replicas should a deployment have? 0 after a while without requests, else as its traffic needs. Pure."""

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
    """The traffic of a deployment in an interval that ended at `at`.

    `in_flight` is an average; `requests` and `generated_tokens` are per second.
    """

    at: datetime
    in_flight: float
    requests: float
    generated_tokens: float


def needed(seen: Observation, targets: Mapping[str, float], slots: int) -> int:
    """The replicas that keep the traffic at or below every target. Each works on `slots` requests at once."""
    measures = {
        "default": seen.in_flight / slots,
        "requests_per_second": seen.requests,
        "tokens_generated_per_second": seen.generated_tokens,
    }
    # Sums of times are inexact: a number just above a whole one counts as that one.
    counts = (math.ceil(measures[name] / target - 1e-6) for name, target in targets.items() if name in measures)
    return max(counts, default=0)


def suggest(
    observations: Sequence[Observation], policy: AutoscalingPolicy, desired: int, low: int, high: int, slots: int
) -> int | None:
    """Another number of replicas that the traffic needs; None to keep `desired`.

    Up once every observation in the scale-up window needs more (to the least of them), down once every one in the
    scale-down window needs less. Never below 1: `idle_from` decides about 0. `observations` begin after the last
    change of `desired`, oldest first, so that each change waits a whole window.
    """
    if not observations or desired == 0:
        return None
    low, high = max(low, 1), max(high, 1)
    targets = policy.load_targets or LOAD_TARGETS
    wanted = [(seen.at, min(max(needed(seen, targets, slots), low), high)) for seen in observations]
    end = wanted[-1][0]

    def within(window: timedelta) -> list[int]:
        """The numbers needed in the window up to now; empty before the window is full."""
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
    """When a deployment without further requests scales to zero; None if it does not."""
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
