"""What other parts of the platform use to start and stop the replica loops and to read which replicas run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from firectl.schemas.deployment import ReplicaStats
from firectl.server.replicas.file_checks import FileChecks
from firectl.server.replicas.fleet import Fleet, FleetSettings
from firectl.server.replicas.merge_job import MergeJobs
from firectl.server.replicas.reconcile import Reconciler
from firectl.server.replicas.replica_set import ReplicaSet
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store
from firectl.server.usage.traffic import Traffic


def utc_now() -> datetime:
    return datetime.now(UTC)


class Supervisor:
    """Makes the replicas match the rows, from `start` to `stop`. `account` (`accounts/a`) is this platform's own.

    `max_replicas` bounds the replicas that requests, loads and traffic start, over all deployments.
    Call its methods on the event loop only; `poke` and the methods that read replicas can be called from any thread.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        account: str,
        wakeup: Wakeup,
        settings: FleetSettings | None = None,
        now: Callable[[], datetime] = utc_now,
        max_replicas: int = 16,
    ) -> None:
        settings = settings or FleetSettings()
        self.max_replicas = max_replicas
        self.now = now
        self.traffic = Traffic(store, now)
        self.poke = wakeup.poke
        """Call this after a change of rows, so that they are soon read again."""
        self._fleet = Fleet(home, account, settings, wakeup.poke, now)
        self.checks = FileChecks(store, home, changed=wakeup.poke, damaged=self._drop, now=now)
        self._merges = MergeJobs(home, changed=wakeup.poke, suspect=self.checks.force, now=now)
        self._reconciler = Reconciler(
            store,
            home,
            self._fleet,
            self._merges,
            self.checks,
            wakeup,
            now,
            max_replicas,
            self.traffic,
            settings.slots,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the loops and return at once."""
        self._tasks = [asyncio.create_task(loop) for loop in (self._reconciler.run(), self.checks.run())]

    async def stop(self) -> None:
        """End the loops and every child process, and wait until all are gone."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await asyncio.gather(self._fleet.stop(), self._merges.stop())
        await self.traffic.flush()

    def _drop(self, folder: str) -> None:
        self._fleet.stop_all_of(folder)
        self._merges.discard(Path(folder).name)

    def replica_set(self, deployment: str) -> ReplicaSet:
        """Return the replicas of a deployment; an empty set if it has had none."""
        return self._fleet.replica_set(deployment)

    def replica_stats(self, deployment: str, desired_replicas: int = 0) -> ReplicaStats:
        """Count the desired replicas of a deployment by stage."""
        return self.replica_set(deployment).stats(desired_replicas)

    def replica_count(self, deployment: str) -> int:
        """Count the replicas of a deployment, including those that are stopping."""
        return len(self.replica_set(deployment).replicas)
