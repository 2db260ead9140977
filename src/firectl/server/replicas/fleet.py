"""Which deployments have replicas here, how are replicas run on this machine, and how do all of them end?

Uses no database. Must not decide what should run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from firectl.server.lifecycle.observed import LoadAdapter, StartReplica, StopReplica, UnloadAdapter
from firectl.server.replicas.launcher import DRIVERS, Driver, EngineSpec
from firectl.server.replicas.replica import Patience
from firectl.server.replicas.replica_set import ReplicaSet
from firectl.server.store.rows import DeploymentRow

ENGINE_SLOTS = 32
"""How many requests an engine works on at once by default."""


@dataclass(frozen=True)
class FleetSettings:
    """How replicas are run here. With `threads` 0 each replica uses half of the cores, so that two run well.

    Two replicas that both use every core slow each other down tenfold.
    """

    driver: Driver = DRIVERS["embedded"]
    threads: int = 0
    max_loras: int = 64
    max_num_seqs: int | None = None
    patience: Patience = field(default_factory=Patience)

    @property
    def slots(self) -> int:
        """Return how many requests a replica works on at once."""
        return self.max_num_seqs or ENGINE_SLOTS

    def threads_each(self) -> int:
        """Return how many threads each replica computes with."""
        return self.threads or max(1, (os.cpu_count() or 1) // 2)


class Fleet:
    """Starts and ends the replicas of every deployment.

    `changed` is called whenever a plan may differ from the last one. `account` is this platform's own.
    """

    def __init__(
        self,
        home: Path,
        account: str,
        settings: FleetSettings,
        changed: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._account = account
        self._settings = settings
        self._changed = changed
        self._now = now
        self._sets: dict[str, ReplicaSet] = {}
        self._stopping = False

    def replica_set(self, deployment: str) -> ReplicaSet:
        """Return the replicas of a deployment; an empty set if it has had none. Can be called from any thread."""
        return self._sets.get(deployment) or ReplicaSet(deployment, self._changed, self._now)

    def forget(self, keep: set[str]) -> None:
        """Drop the replica sets of deployments that are not in `keep` and have no replica."""
        for name in self._sets.keys() - keep:
            if not self._sets[name].replicas:
                del self._sets[name]

    def do(self, row: DeploymentRow, step: StartReplica | StopReplica | LoadAdapter | UnloadAdapter) -> None:
        """Begin one step of a plan."""
        if self._stopping:
            return
        replicas = self.replica_set(row.name)
        if isinstance(step, StartReplica):
            self._sets[row.name] = replicas
            settings, log_file = self._settings, self.log_file(row.name, step.ordinal)
            replicas.start(step, settings.driver, self._spec(row, step), log_file, settings.patience)
        elif (replica := replicas.replicas.get(step.ordinal)) is None:
            return
        elif isinstance(step, StopReplica):
            replica.stop(drain=step.drain)
        elif isinstance(step, LoadAdapter):
            replica.load(step.engine_name, self._home / step.folder)
        else:
            replica.unload(step.engine_name)

    def stop_all_of(self, folder: str) -> None:
        """End every replica that was started with `folder`, without waiting for its answers."""
        for replicas in self._sets.values():
            for replica in replicas.replicas.values():
                if replica.folder == folder:
                    replica.stop(drain=False)

    async def stop(self) -> None:
        """End every replica, and wait until all are gone."""
        self._stopping = True
        replicas = [replica for found in self._sets.values() for replica in found.replicas.values()]
        for replica in replicas:
            replica.stop(drain=False)
        await asyncio.gather(*(replica.wait_gone() for replica in replicas))

    def log_file(self, deployment: str, ordinal: int) -> Path:
        """Return the path of a replica's log: logs/<deployment>-<ordinal>.log.

        For a deployment of another account, the file name begins with `<account>.`.
        """
        account, deployment_id = deployment.split("/")[1::2]
        owner = "" if f"accounts/{account}" == self._account else f"{account}."
        return self._home / "logs" / f"{owner}{deployment_id}-{ordinal}.log"

    def _spec(self, row: DeploymentRow, step: StartReplica) -> EngineSpec:
        settings = self._settings
        return EngineSpec(
            model=self._home / step.folder,
            served_name=row.model,
            enable_lora=bool(row.resource.enable_addons),
            max_loras=settings.max_loras,
            max_num_seqs=settings.max_num_seqs,
            max_model_len=step.context,
            threads=settings.threads_each(),
        )
