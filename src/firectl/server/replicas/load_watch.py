"""Once a second: how much was asked of each deployment, and does that call for another number of replicas?

Remembers the observations that `scaling.suggest` decides by; must not change anything itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firectl.schemas.deployment import AutoscalingPolicy
from firectl.server.lifecycle.scaling import Observation, suggest
from firectl.server.store.rows import DeploymentRow
from firectl.server.usage.activity import Activity

_EVERY = timedelta(seconds=1)
_KEPT = timedelta(hours=1, seconds=10)
"""The longest window that a policy may have, and a little."""


@dataclass
class _Watched:
    desired: int
    at: datetime
    busy_seconds: float
    requests: int
    generated_tokens: int
    observations: deque[Observation] = field(default_factory=deque)


class LoadWatch:
    """`slots`: how many requests a replica works on at once."""

    def __init__(self, activity: Activity, slots: int, now: Callable[[], datetime]) -> None:
        self._activity = activity
        self._slots = slots
        self._now = now
        self._watched: dict[str, _Watched] = {}

    def suggestion(self, row: DeploymentRow) -> int | None:
        """Another number of replicas for it, as of now; None to leave it. What it was before a change is forgotten."""
        low, high = row.resource.min_replica_count or 0, row.resource.max_replica_count or 0
        if row.desired_replicas == 0 or high <= max(low, 1):
            self._watched.pop(row.name, None)
            return None
        now, work = self._now(), self._activity.work(row.name)
        watched = self._watched.get(row.name)
        if watched is None or watched.desired != row.desired_replicas:
            self._watched[row.name] = _Watched(
                row.desired_replicas, now, work.busy_seconds, work.requests, work.generated_tokens
            )
            return None
        seconds = (now - watched.at).total_seconds()
        if seconds >= _EVERY.total_seconds():
            watched.observations.append(
                Observation(
                    now,
                    (work.busy_seconds - watched.busy_seconds) / seconds,
                    (work.requests - watched.requests) / seconds,
                    (work.generated_tokens - watched.generated_tokens) / seconds,
                )
            )
            watched.at, watched.busy_seconds = now, work.busy_seconds
            watched.requests, watched.generated_tokens = work.requests, work.generated_tokens
            while watched.observations[0].at < now - _KEPT:
                watched.observations.popleft()
        policy = row.resource.autoscaling_policy or AutoscalingPolicy()
        return suggest(watched.observations, policy, row.desired_replicas, low, high, self._slots)

    def watches(self) -> bool:
        """Whether there is anything to look at every second."""
        return bool(self._watched)

    def forget(self, keep: set[str]) -> None:
        """Drop what is known of deployments that are gone."""
        for deployment in self._watched.keys() - keep:
            del self._watched[deployment]
