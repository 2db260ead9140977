"""The loop: compare rows with what runs, write what is true now, take one step; woken by changes and by time.

Level-triggered: nothing depends on having seen an event, so that a platform killed anywhere goes on where it stood.
Rules about what should happen are in `lifecycle`; this room only carries plans out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from firectl.errors import ApiError
from firectl.schemas.base import Status
from firectl.schemas.words import DeploymentState, LoadState, ModelState
from firectl.server.disk.integrity import untouched
from firectl.server.disk.merged import Condition, condition
from firectl.server.lifecycle.observed import Plan, Seen, Source, StartMerge, StartReplica
from firectl.server.lifecycle.plan import plan
from firectl.server.replicas.file_checks import FileChecks
from firectl.server.replicas.fleet import Fleet
from firectl.server.replicas.load_watch import LoadWatch
from firectl.server.replicas.merge_job import MergeInputs, MergeJobs
from firectl.server.replicas.sources import World, source_of
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store, Tx
from firectl.server.store.capacity import free
from firectl.server.store.defaults import give_up_default
from firectl.server.store.rows import DeployedModelRow, DeploymentRow
from firectl.server.store.wake_requests import wake
from firectl.server.usage.activity import Activity

log = logging.getLogger(__name__)

TICK = 5.0
"""Seconds between rounds when nothing rings."""
_WATCHING = 1.0
"""The same while the load of a deployment may change its number of replicas."""
_AFTER_ERROR = 1.0


@dataclass
class Round:
    """What came of a round: whether rows changed, and when time alone will change something."""

    changed: bool = False
    wake_at: datetime | None = None
    plans: list[tuple[DeploymentRow, Sequence[DeployedModelRow], Plan]] = field(default_factory=list)


class Reconciler:
    """Drives `fleet` and `merges` towards the rows in `store`. Its rounds never overlap."""

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
        activity: Activity,
        slots: int,
    ) -> None:
        self._activity = activity
        self._load = LoadWatch(activity, slots, now)
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
        """Rounds for ever; an error in one is logged and the next goes on."""
        while True:
            try:
                done = await self.round()
            except Exception:
                log.exception("reconcile")
                await asyncio.sleep(_AFTER_ERROR)
                continue
            if not done.changed:
                pause = _WATCHING if self._load.watches() else TICK
                if done.wake_at is not None:
                    pause = min(pause, max(0.0, (done.wake_at - self._now()).total_seconds()))
                await self._wakeup.wait(pause)

    async def round(self) -> Round:
        """Look once at everything, write what changed, begin the next steps."""
        world = await asyncio.to_thread(self._read)
        done = Round()
        merged_in_use: set[str] = set()
        unknown: set[str] = set()
        # What is draining counts too: it takes its share of the machine to its end.
        taken = {row.name: max(row.desired_replicas, self._fleet.count(row.name)) for row in world.deployments}
        for row in world.deployments:
            rows = world.loads.get(row.name, ())
            source, inputs = source_of(self._home, row, rows, world)
            if row.state != DeploymentState.FAILED:
                merged_in_use |= self._merged_folders(row, source, inputs)
            others = sum(taken.values()) - taken[row.name]
            room = max(0, self._max_replicas - others - row.desired_replicas)
            seen = self._seen(row, rows, source, inputs, room)
            found = plan(row, rows, source, seen, self._now())
            unknown |= _unknown(row, rows, source, seen, inputs)
            starts = sum(isinstance(step, StartReplica) for step in found.steps)
            taken[row.name] = max(row.desired_replicas, self._fleet.count(row.name) + starts)
            if (crew := self._fleet.peek(row.name)) is not None:
                # Before the rows say READY, so that who reads that can send a request at once.
                crew.set_ready(found.ready)
            done.plans.append((row, rows, found))
            if found.wake_at is not None:
                done.wake_at = min(found.wake_at, done.wake_at or found.wake_at)
        self._tidy({row.name for row in world.deployments}, merged_in_use)
        self._checks.want(unknown)
        writes = [item for item in done.plans if _writes(*item)]
        if writes:
            done.changed = await asyncio.to_thread(self._write, writes)
        for row, rows, found in done.plans:
            self._begin(row, rows, found, world)
        return done

    def _read(self) -> World:
        forced = self._checks.forced
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
        # Forced ones first: one that is read in this moment has its new stamps in a later transaction.
        touched = set(forced)
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
        """A merged folder that is gone, or of which nobody knows what it should hold, is made again."""
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
        rows: Sequence[DeployedModelRow],
        source: Source,
        inputs: MergeInputs | None,
        room: int,
    ) -> Seen:
        crew = self._fleet.peek(row.name)
        merge = None
        if inputs is not None and row.served_folder != f"merged/{inputs.key}":
            merge = self._merges.view(row.name, inputs)
        if crew is None:
            return Seen(merge=merge, room=room)
        wanted = {
            source.adapters[load.name].engine_name
            for load in rows
            if load.name in source.adapters and load.state != LoadState.UNDEPLOYING
        }
        crew.settle(wanted, row.desired_replicas, row.served_folder)
        return Seen(
            crew.views,
            crew.trouble,
            merge,
            dict(crew.faults),
            room=room,
            last_request=self._activity.last_request_time(row.name),
            in_flight=self._activity.work(row.name).in_flight,
            suggested=self._load.suggestion(row)
            if row.state in (DeploymentState.READY, DeploymentState.UPDATING)
            else None,
            answering=crew.answering,
        )

    def _merged_folders(self, row: DeploymentRow, source: Source, inputs: MergeInputs | None) -> set[str]:
        """The merged folders that a deployment uses or will; one deleted softly keeps its, to be had back at once."""
        found = {inputs.key} if inputs is not None else set()
        if row.is_hot_reload:
            found |= {Path(adapter.folder).name for adapter in source.adapters.values()}
            crew = self._fleet.peek(row.name)
            found |= {Path(view.folder).name for view in (crew.views if crew is not None else ())}
        if (row.is_live_merge or row.is_hot_reload) and row.served_folder and not (row.is_live_merge and inputs):
            found.add(Path(row.served_folder).name)
        return found

    def _tidy(self, known: set[str], merged_in_use: set[str]) -> None:
        self._merges.forget(known)
        self._fleet.forget(known)
        self._activity.forget(known)
        self._load.forget(known)
        if merged_in_use != self._merged_in_use:
            self._merges.clean(merged_in_use)
            self._merged_in_use = merged_in_use

    def _begin(self, row: DeploymentRow, rows: Sequence[DeployedModelRow], found: Plan, world: World) -> None:
        for step in found.steps:
            if isinstance(step, StartMerge):
                _, inputs = source_of(self._home, row, rows, world)
                if inputs is not None:
                    self._merges.start(row.name, inputs)
            else:
                self._fleet.do(row, step)

    def _write(self, items: Sequence[tuple[DeploymentRow, Sequence[DeployedModelRow], Plan]]) -> bool:
        """Carry the plans' changes into the rows; False when all is still as it was."""
        now = self._now()
        changed = False
        with self._store.begin() as tx:
            for row, rows, found in items:
                current = tx.deployments.get(row.name)
                if current is None or (current.state, current.desired_replicas) != (row.state, row.desired_replicas):
                    changed = True  # somebody decided otherwise meanwhile: the next round looks again
                elif found.wake:
                    changed |= self._wake(tx, rows, row)
                else:
                    changed = True
                    _write_loads(tx, rows, found, now)
                    _write_deployment(tx, row, found, now)
                    self._write_desired(tx, current, found)
        return changed

    def _write_desired(self, tx: Tx, row: DeploymentRow, found: Plan) -> None:
        if found.desired is None or found.purge:
            return
        # The bounds as they are now: they may have changed since the plan was made.
        low, high = row.resource.min_replica_count or 0, row.resource.max_replica_count or 0
        desired = min(max(found.desired, low), high, free(tx, row.name, self._max_replicas))
        if desired == row.desired_replicas or (found.desired > row.desired_replicas > desired):
            return
        log.info("%s: %d replicas from now on, not %d", row.name, desired, row.desired_replicas)
        tx.deployments.update(row.name, desired_replicas=desired)

    def _wake(self, tx: Tx, rows: Sequence[DeployedModelRow], row: DeploymentRow) -> bool:
        try:
            return wake(tx, row.name, self._max_replicas, self._now())
        except ApiError as error:
            status = Status.of(error.code, error.message)
            waiting = [load for load in rows if load.state == LoadState.DEPLOYING and load.status != status]
            for load in waiting:
                tx.deployed_models.update(load.name, status=status)
            return bool(waiting)


def _unknown(
    row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, inputs: MergeInputs | None
) -> set[str]:
    """The models and folders that a deployment waits for until their files have been read."""
    if row.state in (DeploymentState.FAILED, DeploymentState.DELETING, DeploymentState.DELETED):
        return set()
    found = set(source.unknown)
    found |= {load.model for load in rows if load.name in source.adapters and source.adapters[load.name].unknown}
    if inputs is not None and seen.merge is not None and seen.merge.unknown:
        found.add(f"merged/{inputs.key}")
    return found


def _writes(row: DeploymentRow, rows: Sequence[DeployedModelRow], found: Plan) -> bool:
    scaled = found.desired is not None and found.desired != row.desired_replicas
    return bool(found.wake or scaled or found.loads or found.purge or _columns(row, found, row.update_time))


def _columns(row: DeploymentRow, found: Plan, now: datetime) -> dict[str, object]:
    """The columns of a deployment that a plan changes."""
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


def _write_deployment(tx: Tx, row: DeploymentRow, found: Plan, now: datetime) -> None:
    if found.purge:
        for load in tx.deployed_models.of_deployment(row.name):
            give_up_default(tx, load, now)
            tx.deployed_models.delete(load.name)
        tx.deployments.delete(row.name)
    elif columns := _columns(row, found, now):
        tx.deployments.update(row.name, **columns)


def _write_loads(tx: Tx, rows: Sequence[DeployedModelRow], found: Plan, now: datetime) -> None:
    before = {load.name: load for load in rows}
    for change in found.loads:
        current = tx.deployed_models.get(change.name)
        if current is None or current.state != before[change.name].state:
            continue
        if change.state in (None, LoadState.UNDEPLOYING):
            give_up_default(tx, current, now)
        if change.state is None:
            tx.deployed_models.delete(change.name)
        else:
            tx.deployed_models.update(change.name, state=change.state, status=change.status, update_time=now)
