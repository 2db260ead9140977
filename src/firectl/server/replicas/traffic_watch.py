"""How much traffic did each deployment get lately, and does it need another number of replicas?

Collects one observation a second for `lifecycle/scaling.py`, which decides. Must not change the number itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from firectl.schemas.deployment import AutoscalingPolicy
from firectl.server.lifecycle.scaling import Observation, suggest
from firectl.server.store.rows import DeploymentRow
from firectl.server.usage.traffic import Traffic, TrafficCount

_EVERY = 1.0
_KEPT = timedelta(hours=1, seconds=10)
"""How long observations are kept: a little more than the longest window of a policy."""


@dataclass
class _Watched:
    desired: int
    at: datetime
    count: TrafficCount
    observations: deque[Observation] = field(default_factory=deque)


class TrafficWatch:
    """Observes the traffic of scaling deployments. `slots`: how many requests a replica works on at once."""

    def __init__(self, traffic: Traffic, slots: int, now: Callable[[], datetime]) -> None:
        self._traffic = traffic
        self._slots = slots
        self._now = now
        self._watched: dict[str, _Watched] = {}

    def suggestion(self, row: DeploymentRow) -> int | None:
        """Return the number of replicas that a deployment needs; None for no change.

        Every change of `desired_replicas` drops the earlier observations.
        """
        low, high = row.resource.min_replica_count or 0, row.resource.max_replica_count or 0
        if row.desired_replicas == 0 or high <= max(low, 1):
            self._watched.pop(row.name, None)
            return None
        now, count = self._now(), replace(self._traffic.of(row.name))
        watched = self._watched.get(row.name)
        if watched is None or watched.desired != row.desired_replicas:
            self._watched[row.name] = _Watched(row.desired_replicas, now, count)
            return None
        seconds = (now - watched.at).total_seconds()
        if seconds >= _EVERY:
            before = watched.count
            watched.observations.append(
                Observation(
                    now,
                    (count.busy_seconds - before.busy_seconds) / seconds,
                    (count.requests - before.requests) / seconds,
                    (count.generated_tokens - before.generated_tokens) / seconds,
                )
            )
            watched.at, watched.count = now, count
            while watched.observations[0].at < now - _KEPT:
                watched.observations.popleft()
        policy = row.resource.autoscaling_policy or AutoscalingPolicy()
        return suggest(watched.observations, policy, row.desired_replicas, low, high, self._slots)

    def watches(self) -> bool:
        """Whether any deployment must be observed every second."""
        return bool(self._watched)

    def forget(self, keep: set[str]) -> None:
        """Drop the observations of deployments that are not in `keep`."""
        for deployment in self._watched.keys() - keep:
            del self._watched[deployment]
