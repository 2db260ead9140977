"""The replicas of this platform, as the rest of it sees them: start, stop, poke, and what runs now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from firectl.schemas.deployment import ReplicaStats
from firectl.server.replicas.crew import Crew
from firectl.server.replicas.file_checks import FileChecks
from firectl.server.replicas.fleet import Fleet, FleetSettings
from firectl.server.replicas.merge_job import MergeJobs
from firectl.server.replicas.reconcile import Reconciler
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store
from firectl.server.usage.activity import Activity


def utc_now() -> datetime:
    return datetime.now(UTC)


class Supervisor:
    """Keeps what runs equal to what the rows say, from `start` to `stop`. `account` (`accounts/a`) is this platform's.

    `max_replicas` bounds what starts by itself (a request or a load that wakes a deployment), over all deployments.

    Its methods are for the event loop; `poke`, `replica_stats` and `replica_count` are for any thread.
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
        self.activity = Activity(store, now)
        self._wakeup = wakeup
        self._fleet = Fleet(home, account, settings, wakeup.poke, now)
        self.checks = FileChecks(store, home, changed=wakeup.poke, damaged=self._drop, now=now)
        self._merges = MergeJobs(home, changed=wakeup.poke, suspect=self.checks.force, now=now)
        self.now = now
        self._reconciler = Reconciler(
            store,
            home,
            self._fleet,
            self._merges,
            self.checks,
            wakeup,
            now,
            max_replicas,
            self.activity,
            settings.slots,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to converge; returns at once."""
        self._tasks = [asyncio.create_task(loop) for loop in (self._reconciler.run(), self.checks.run())]

    async def stop(self) -> None:
        """End the loop and every child process, asked first and then made to; none is left when this returns."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await asyncio.gather(self._fleet.stop(), self._merges.stop())
        await self.activity.flush()

    def _drop(self, folder: str) -> None:
        self._fleet.stop_all_of(folder)
        self._merges.discard(Path(folder).name)

    def poke(self) -> None:
        """Rows changed: look at them soon."""
        self._wakeup.poke()

    def crew(self, deployment: str) -> Crew | None:
        """The replicas of a deployment; None when nothing of it ran yet."""
        return self._fleet.peek(deployment)

    def replica_stats(self, deployment: str, desired_replicas: int = 0) -> ReplicaStats:
        """How many replicas of a deployment are in each stage; those of `desired_replicas` not begun are pending."""
        crew = self._fleet.peek(deployment)
        return (crew or Crew(deployment, self.poke, utc_now)).stats(desired_replicas)

    def replica_count(self, deployment: str) -> int:
        """How many replicas of a deployment have a process, one that is ending or finishing its answers included."""
        return self._fleet.count(deployment)
