"""Which replicas does one deployment have, what went wrong with them lately, and which takes the next request?

Must not decide what should run: a set carries out the steps of a plan and reports what runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path

from firectl.schemas.deployment import ReplicaStats
from firectl.server.lifecycle.observed import (
    AdapterFault,
    ObservedAdapter,
    Phase,
    ReplicaView,
    StartReplica,
    Trouble,
    backoff,
)
from firectl.server.replicas.launcher import Driver, EngineSpec
from firectl.server.replicas.replica import Death, Patience, Replica

log = logging.getLogger(__name__)

_STEADY = 60.0
"""A replica that served this many seconds was healthy; its next crash restarts the failure count."""
_FAULT_WAIT = timedelta(seconds=1)
_REFUSED_WAIT = timedelta(seconds=30)


class ReplicaSet:
    """The replicas of one deployment. `changed` is called whenever the next plan may differ from the last one."""

    def __init__(self, deployment: str, changed: Callable[[], None], now: Callable[[], datetime]) -> None:
        self.deployment = deployment
        self.replicas: dict[int, Replica] = {}
        """Ordinal → replica, including replicas that are stopping."""
        self.trouble: Trouble | None = None
        self.faults: dict[str, AdapterFault] = {}
        self.changed = changed
        self.answering: frozenset[int] = frozenset()
        """Ordinals of the replicas that take requests, according to the last plan."""
        self._took_requests: set[int] = set()
        self._folder: str | None = None
        self._now = now

    @property
    def views(self) -> tuple[ReplicaView, ...]:
        return tuple(self.replicas[ordinal].view for ordinal in sorted(self.replicas))

    def settle(self, wanted: set[str], desired_replicas: int, folder: str | None) -> None:
        """Forget failures that no longer matter.

        These are faults of adapters that are not `wanted` or are loaded on every replica, and crashes if no replica is
        desired, every replica has long been healthy, or `folder` changed.
        """
        serving = [replica for replica in self.replicas.values() if replica.phase is Phase.SERVING]
        for engine_name in list(self.faults):
            everywhere = serving and all(r.adapters.get(engine_name) is ObservedAdapter.LOADED for r in serving)
            if engine_name not in wanted or everywhere:
                del self.faults[engine_name]
        steady = serving and len(serving) == len(self.replicas) and all(r.served_for() >= _STEADY for r in serving)
        if desired_replicas == 0 or steady or folder != self._folder:
            self.trouble = None
        self._folder = folder

    def set_answering(self, ordinals: frozenset[int]) -> None:
        """Let only the replicas with these ordinals take requests."""
        self.answering = ordinals
        self._took_requests |= ordinals

    def ready(self) -> list[Replica]:
        """Return the replicas that take requests. Can be called from any thread."""
        replicas = list(self.replicas.items())
        return [r for ordinal, r in replicas if ordinal in self.answering and r.phase is Phase.SERVING]

    def pick(self, adapter: str | None, folder: str | None = None, besides: Collection[int] = ()) -> Replica | None:
        """Return the ready replica with the fewest requests in flight, without the ordinals in `besides`.

        The replica has loaded `adapter` (None: none is needed) and was started with `folder` (None: any).
        """
        able = [
            replica
            for replica in self.ready()
            if replica.ordinal not in besides
            and (adapter is None or replica.adapters.get(adapter) is ObservedAdapter.LOADED)
            and folder in (None, replica.folder)
        ]
        return min(able, key=lambda replica: (replica.in_flight, replica.ordinal), default=None)

    def stats(self, wanted: int) -> ReplicaStats:
        """Count the `wanted` replicas by stage: not started, starting, ready. Can be called from any thread.

        A replica that took requests before and is not ready now is in none of these counts.
        """
        up = [replica for replica in list(self.replicas.values()) if replica.phase is not Phase.STOPPING]
        return ReplicaStats(
            pending_scheduling_replica_count=max(0, wanted - len(up)),
            downloading_model_replica_count=0,
            initializing_replica_count=sum(replica.ordinal not in self._took_requests for replica in up),
            ready_replica_count=len(self.ready()),
        )

    def start(self, step: StartReplica, driver: Driver, spec: EngineSpec, log_file: Path, patience: Patience) -> None:
        """Start a replica, unless there is already one with its ordinal."""
        if step.ordinal in self.replicas:
            return
        log.info("starting replica %d of %s", step.ordinal, self.deployment)
        replica = self.replicas[step.ordinal] = Replica(step.ordinal, step.folder, step.context, patience, self)
        replica.start(driver, spec, log_file)

    def died(self, replica: Replica, death: Death) -> None:
        """Remember that a replica crashed."""
        log.warning("replica %d of %s: %s", replica.ordinal, self.deployment, death.reason)
        before = self.trouble
        if before is None or (death.served is not None and death.served >= _STEADY):
            before = Trouble(0, 0, "", self._now())
        count = before.count + 1
        unloadable = before.unloadable + 1 if death.unloadable else 0
        self.trouble = Trouble(count, unloadable, death.reason, self._now() + backoff(count))
        for engine_name in death.loading:
            self._fault(engine_name, f"the engine died while loading the adapter: {death.reason}", refused=False)

    def gone(self, replica: Replica) -> None:
        """Drop a replica whose process ended."""
        del self.replicas[replica.ordinal]
        self._took_requests.discard(replica.ordinal)
        self.changed()

    def failed(self, engine_name: str, message: str, *, refused: bool) -> None:
        """Remember that an adapter failed to load."""
        log.warning("loading %s on %s: %s", engine_name, self.deployment, message)
        self._fault(engine_name, message, refused=refused)
        self.changed()

    def _fault(self, engine_name: str, message: str, *, refused: bool) -> None:
        before = self.faults.get(engine_name)
        count = before.count + 1 if before else 1
        wait = _REFUSED_WAIT if refused else _FAULT_WAIT + backoff(count)
        self.faults[engine_name] = AdapterFault(count, refused, message, self._now() + wait)
