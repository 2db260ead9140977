"""Which deployments have replicas here, how replicas are run on this machine, and the end of all of them.

Memory only, no rows; must not decide what should run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from firectl.server.lifecycle.observed import LoadAdapter, StartReplica, StopReplica, UnloadAdapter
from firectl.server.replicas.crew import Crew
from firectl.server.replicas.launcher import DRIVERS, Driver, EngineSpec
from firectl.server.replicas.replica import Patience
from firectl.server.store.rows import DeploymentRow

ENGINE_SLOTS = 32
"""What an engine serves at once unless told otherwise."""


@dataclass(frozen=True)
class FleetSettings:
    """How replicas are run here. `threads` 0: the cores shared by `expected_replicas`.

    Two, as the tutorial has: replicas that each compute with a thread for every core slow each other tenfold.
    """

    driver: Driver = DRIVERS["embedded"]
    threads: int = 0
    expected_replicas: int = 2
    max_loras: int = 64
    max_lora_rank: int = 64
    max_num_seqs: int | None = None
    dtype: str = "auto"
    patience: Patience = field(default_factory=Patience)

    @property
    def slots(self) -> int:
        """How many requests a replica works on at once."""
        return self.max_num_seqs or ENGINE_SLOTS

    def threads_each(self) -> int:
        """How many threads a replica computes with."""
        return self.threads or max(1, (os.cpu_count() or 1) // max(1, self.expected_replicas))


class Fleet:
    """`changed` is called whenever a plan may have become another one. `account` is this platform's own."""

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
        self._crews: dict[str, Crew] = {}
        self._stopping = False

    def crew(self, deployment: str) -> Crew:
        """The replicas of a deployment; empty when nothing of it ran yet."""
        found = self._crews.get(deployment)
        if found is None:
            found = self._crews[deployment] = Crew(deployment, self._changed, self._now)
        return found

    def peek(self, deployment: str) -> Crew | None:
        """The same, None when nothing of it ran yet."""
        return self._crews.get(deployment)

    def deployments(self) -> set[str]:
        """Those that have a replica, in whatever phase."""
        return {name for name, crew in self._crews.items() if crew.replicas}

    def count(self, deployment: str) -> int:
        """How many replicas it has, in whatever phase."""
        crew = self._crews.get(deployment)
        return 0 if crew is None else crew.count()

    def forget(self, keep: set[str]) -> None:
        """Drop what is known of deployments that are gone and have no replica."""
        for name in self._crews.keys() - keep:
            if not self._crews[name].replicas:
                del self._crews[name]

    def do(self, row: DeploymentRow, step: StartReplica | StopReplica | LoadAdapter | UnloadAdapter) -> None:
        """Begin one step; what comes of it will be seen."""
        if self._stopping:
            return
        crew = self.crew(row.name)
        if isinstance(step, StartReplica):
            driver, log_file = self._settings.driver, self.log_file(row.name, step.ordinal)
            crew.start(step, driver, self._spec(row, step), log_file, self._settings.patience)
            return
        replica = crew.replicas.get(step.ordinal)
        if replica is None:
            return
        if isinstance(step, StopReplica):
            replica.stop(drain=step.drain)
        elif isinstance(step, LoadAdapter):
            replica.load(step.engine_name, self._home / step.folder)
        else:
            replica.unload(step.engine_name)

    def stop_all_of(self, folder: str) -> None:
        """End every replica that was started with this folder, in the middle of its answers."""
        for crew in self._crews.values():
            for replica in crew.replicas.values():
                if replica.folder == folder:
                    replica.stop(drain=False)

    async def stop(self) -> None:
        """End every replica; none is left when this returns."""
        self._stopping = True
        replicas = [replica for crew in self._crews.values() for replica in crew.replicas.values()]
        for replica in replicas:
            replica.stop(drain=False)
        await asyncio.gather(*(replica.wait_gone() for replica in replicas))

    def log_file(self, deployment: str, ordinal: int) -> Path:
        """Where a replica's words go: logs/<deployment>-<n>.log, its account before it where that is not our own."""
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
            max_lora_rank=settings.max_lora_rank,
            max_num_seqs=settings.max_num_seqs,
            max_model_len=step.context,
            dtype=settings.dtype,
            threads=settings.threads_each(),
        )
