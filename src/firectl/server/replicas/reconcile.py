"""The reconcile loop: compare the rows with what runs, write the new states, begin the next steps, wait.

Each round reads everything again and needs no event, so a platform that was killed at any point can continue.
`lifecycle` makes the plans; this file carries them out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from firectl.errors import ApiError
from firectl.schemas.base import Status
from firectl.schemas.words import DeploymentState, LoadState, ModelState
from firectl.server.disk.integrity import untouched
from firectl.server.disk.merged import Condition, condition
from firectl.server.lifecycle.observed import LoadSource, Plan, Seen, StartMerge, StartReplica
from firectl.server.lifecycle.plan import plan
from firectl.server.replicas.file_checks import FileChecks
from firectl.server.replicas.fleet import Fleet
from firectl.server.replicas.merge_job import MergeInputs, MergeJobs
from firectl.server.replicas.sources import World, source_of
from firectl.server.replicas.traffic_watch import TrafficWatch
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store, Tx
from firectl.server.store.capacity import free
from firectl.server.store.defaults import give_up_default
from firectl.server.store.rows import DeployedModelRow, DeploymentRow
from firectl.server.store.wake_requests import wake
from firectl.server.usage.traffic import Traffic

log = logging.getLogger(__name__)

TICK = 5.0
"""The longest time in seconds between two rounds."""
_WATCHING = 1.0
"""Seconds between rounds while traffic may change the number of replicas of a deployment."""
_AFTER_ERROR = 1.0


@dataclass(frozen=True)
class ReconcileRound:
    """Whether a round changed rows, and when to run the next round even if nothing else changes."""

    changed: bool
    wake_at: datetime | None


@dataclass(frozen=True)
class _Planned:
    """One deployment in a round: its rows, its files, what must be merged for it, and its plan."""

    row: DeploymentRow
    loads: Sequence[DeployedModelRow]
    inputs: MergeInputs | None
    plan: Plan


class Reconciler:
    """Makes `fleet` and `merges` do what the rows in `store` ask for. Rounds never overlap."""

    def __init__(
        self,
        store: Store,
        home: Path,
        fleet: Fleet,
        merges: MergeJobs,
        checks: FileChecks,
        wakeup: Wakeup,
        now: Callable[[], datetime],
        max_replicas: int,
        traffic: Traffic,
        slots: int,
    ) -> None:
        self._traffic = traffic
        self._watch = TrafficWatch(traffic, slots, now)
        self._store = store
        self._home = home
        self._fleet = fleet
        self._merges = merges
        self._checks = checks
        self._wakeup = wakeup
        self._now = now
        self._max_replicas = max_replicas
        self._merged_in_use: set[str] | None = None

    async def run(self) -> None:
        """Run rounds until cancelled. An error in a round is logged."""
        while True:
            try:
                done = await self.round()
            except Exception:
                log.exception("reconcile")
                await asyncio.sleep(_AFTER_ERROR)
                continue
            if not done.changed:
                pause = _WATCHING if self._watch.watches() else TICK
                if done.wake_at is not None:
                    pause = min(pause, max(0.0, (done.wake_at - self._now()).total_seconds()))
                await self._wakeup.wait(pause)

    async def round(self) -> ReconcileRound:
        """Plan every deployment once, write what changed into the rows, and begin the next steps."""
        world = await asyncio.to_thread(self._read)
        planned: list[_Planned] = []
        merged_in_use: set[str] = set()
        unknown: set[str] = set()
        # A stopping replica that finishes its answers still uses the machine, so it counts too.
        taken = {row.name: max(row.desired_replicas, self._count(row)) for row in world.deployments}
        for row in world.deployments:
            loads = world.loads.get(row.name, ())
            source, inputs = source_of(self._home, row, loads, world)
            if row.state != DeploymentState.FAILED:
                merged_in_use |= self._merged_folders(row, source, inputs)
            others = sum(taken.values()) - taken[row.name]
            room = max(0, self._max_replicas - others - row.desired_replicas)
            seen = self._seen(row, loads, source, inputs, room)
            found = plan(row, loads, source, seen, self._now())
            unknown |= _unknown(row, loads, source, seen, inputs)
            starts = sum(isinstance(step, StartReplica) for step in found.steps)
            taken[row.name] = max(row.desired_replicas, self._count(row) + starts)
            # Do this before the rows say READY: a client that reads READY may send a request at once.
            self._fleet.replica_set(row.name).set_answering(found.ready)
            planned.append(_Planned(row, loads, inputs, found))
        self._tidy({row.name for row in world.deployments}, merged_in_use)
        self._checks.want(unknown)
        writes = [item for item in planned if _writes(item)]
        changed = await asyncio.to_thread(self._write, writes) if writes else False
        for item in planned:
            self._begin(item)
        times = (item.plan.wake_at for item in planned if item.plan.wake_at is not None)
        return ReconcileRound(changed, min(times, default=None))

    def _count(self, row: DeploymentRow) -> int:
        return len(self._fleet.replica_set(row.name).replicas)

    def _read(self) -> World:
        # Copy this before the rows are read: a check that ends in between has new stamps that these rows lack.
        touched = set(self._checks.forced)
        with self._store.read() as tx:
            deployments = tx.deployments.all()
            by_deployment: dict[str, list[DeployedModelRow]] = defaultdict(list)
            names: set[str] = set()
            for load in tx.deployed_models.all():
                by_deployment[load.deployment].append(load)
                names.add(load.model)
            for row in deployments:
                if row.state not in (DeploymentState.DELETED, DeploymentState.FAILED):
                    names |= {row.model, row.base}
            found = {name: tx.models.get(name) for name in names}
        touched |= {
            name
            for name, model in found.items()
            if model is not None
            and model.state == ModelState.READY
            and not untouched(self._home / model.folder, model.stamps)
        }
        rows = [self._with_folder(row, touched) for row in deployments]
        return World(rows, by_deployment, found, frozenset(touched))

    def _with_folder(self, row: DeploymentRow, touched: set[str]) -> DeploymentRow:
        """Return the row, with `served_folder` None if that folder is gone or useless. A plan then sets it again."""
        if not (row.is_live_merge or row.is_hot_reload) or not row.served_folder:
            return row
        folder = self._home / row.served_folder
        if folder.parent.name != "merged":
            return row if folder.is_dir() else replace(row, served_folder=None)
        found = condition(folder)
        if found is Condition.TOUCHED:
            touched.add(row.served_folder)
        return row if found in (Condition.WHOLE, Condition.TOUCHED) else replace(row, served_folder=None)

    def _seen(
        self,
        row: DeploymentRow,
        loads: Sequence[DeployedModelRow],
        source: LoadSource,
        inputs: MergeInputs | None,
        room: int,
    ) -> Seen:
        replicas = self._fleet.replica_set(row.name)
        merge = None
        if inputs is not None and row.served_folder != f"merged/{inputs.key}":
            merge = self._merges.view(row.name, inputs)
        wanted = {
            source.adapters[load.name].engine_name
            for load in loads
            if load.name in source.adapters and load.state != LoadState.UNDEPLOYING
        }
        replicas.settle(wanted, row.desired_replicas, row.served_folder)
        scales = row.state in (DeploymentState.READY, DeploymentState.UPDATING)
        return Seen(
            replicas.views,
            replicas.trouble,
            merge,
            dict(replicas.faults),
            room=room,
            last_request=self._traffic.last_request_time(row.name),
            in_flight=self._traffic.of(row.name).in_flight,
            suggested=self._watch.suggestion(row) if scales else None,
            answering=replicas.answering,
        )

    def _merged_folders(self, row: DeploymentRow, source: LoadSource, inputs: MergeInputs | None) -> set[str]:
        """Return the names of the merged folders that a deployment uses or may use, also after an undelete."""
        found = {inputs.key} if inputs is not None else set()
        if row.is_hot_reload:
            found |= {Path(adapter.folder).name for adapter in source.adapters.values()}
            found |= {Path(view.folder).name for view in self._fleet.replica_set(row.name).views}
        if (row.is_live_merge or row.is_hot_reload) and row.served_folder and not (row.is_live_merge and inputs):
            found.add(Path(row.served_folder).name)
        return found

    def _tidy(self, known: set[str], merged_in_use: set[str]) -> None:
        self._merges.forget(known)
        self._fleet.forget(known)
        self._traffic.forget(known)
        self._watch.forget(known)
        if merged_in_use != self._merged_in_use:
            self._merges.clean(merged_in_use)
            self._merged_in_use = merged_in_use

    def _begin(self, item: _Planned) -> None:
        for step in item.plan.steps:
            if not isinstance(step, StartMerge):
                self._fleet.do(item.row, step)
            elif item.inputs is not None:
                self._merges.start(item.row.name, item.inputs)

    def _write(self, items: Sequence[_Planned]) -> bool:
        """Write the changes of the plans into the rows. False if no row changed and no new round is needed."""
        now = self._now()
        changed = False
        with self._store.begin() as tx:
            for item in items:
                row, found = item.row, item.plan
                current = tx.deployments.get(row.name)
                if current is None or (current.state, current.desired_replicas) != (row.state, row.desired_replicas):
                    changed = True  # The row changed since it was read: the next round plans again.
                elif found.wake:
                    changed |= self._wake(tx, item)
                else:
                    changed = True
                    _write_loads(tx, item, now)
                    _write_deployment(tx, item, now)
                    self._write_desired(tx, current, found)
        return changed

    def _write_desired(self, tx: Tx, row: DeploymentRow, found: Plan) -> None:
        if found.desired is None or found.purge:
            return
        # Read the bounds now: they may have changed since the plan was made.
        low, high = row.resource.min_replica_count or 0, row.resource.max_replica_count or 0
        desired = min(max(found.desired, low), high, free(tx, row.name, self._max_replicas))
        if desired == row.desired_replicas or (found.desired > row.desired_replicas > desired):
            return
        log.info("%s: scaling from %d to %d replicas", row.name, row.desired_replicas, desired)
        tx.deployments.update(row.name, desired_replicas=desired)

    def _wake(self, tx: Tx, item: _Planned) -> bool:
        try:
            return wake(tx, item.row.name, self._max_replicas, self._now())
        except ApiError as error:
            status = Status.of(error.code, error.message)
            waiting = [load for load in item.loads if load.state == LoadState.DEPLOYING and load.status != status]
            for load in waiting:
                tx.deployed_models.update(load.name, status=status)
            return bool(waiting)


def _unknown(
    row: DeploymentRow, loads: Sequence[DeployedModelRow], source: LoadSource, seen: Seen, inputs: MergeInputs | None
) -> set[str]:
    """Return the models and merged folders whose files must be verified before the deployment continues."""
    if row.state in (DeploymentState.FAILED, DeploymentState.DELETING, DeploymentState.DELETED):
        return set()
    found = set(source.unknown)
    found |= {load.model for load in loads if load.name in source.adapters and source.adapters[load.name].unknown}
    if inputs is not None and seen.merge is not None and seen.merge.unknown:
        found.add(f"merged/{inputs.key}")
    return found


def _writes(item: _Planned) -> bool:
    row, found = item.row, item.plan
    scaled = found.desired is not None and found.desired != row.desired_replicas
    return bool(found.wake or scaled or found.loads or found.purge or _columns(row, found, row.update_time))


def _columns(row: DeploymentRow, found: Plan, now: datetime) -> dict[str, object]:
    """Return the new values of the columns of a deployment that a plan changes."""
    columns: dict[str, object] = {}
    if found.state != row.state:
        columns |= {"state": found.state, "update_time": now}
    if found.status != row.status:
        columns["status"] = found.status
    if found.served_folder is not None:
        record = None if found.merge_record is None else dict(found.merge_record)
        if (found.served_folder, record) != (row.served_folder, row.merge_record):
            columns |= {"served_folder": found.served_folder, "merge_record": record}
    return columns


def _write_deployment(tx: Tx, item: _Planned, now: datetime) -> None:
    row, found = item.row, item.plan
    if found.purge:
        for load in tx.deployed_models.of_deployment(row.name):
            give_up_default(tx, load, now)
            tx.deployed_models.delete(load.name)
        tx.deployments.delete(row.name)
    elif columns := _columns(row, found, now):
        tx.deployments.update(row.name, **columns)


def _write_loads(tx: Tx, item: _Planned, now: datetime) -> None:
    before = {load.name: load.state for load in item.loads}
    for change in item.plan.loads:
        current = tx.deployed_models.get(change.name)
        if current is None or current.state != before[change.name]:
            continue
        if change.state in (None, LoadState.UNDEPLOYING):
            give_up_default(tx, current, now)
        if change.state is None:
            tx.deployed_models.delete(change.name)
        else:
            tx.deployed_models.update(change.name, state=change.state, status=change.status, update_time=now)
