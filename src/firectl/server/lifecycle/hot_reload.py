"""Which addon should be merged into a hot-reload deployment, is it yet, and what becomes of the rows that asked? Pure.

The latest that was loaded wins; the one before goes when the latest answers. Starting and stopping replicas with the
folder named here is `lifecycle`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.schemas.words import LoadState
from firectl.server.lifecycle.loads import PARKED, leaving
from firectl.server.lifecycle.observed import LoadChange, MergeView, Phase, Seen, Source, StartMerge, ok
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

LOAD_TRIES = 2
"""How often an engine that says itself why it cannot load the model is started again before it is given up."""
START_TRIES = 5
"""How often a replica may die before what never served is given up."""
MERGE_TRIES = 3
"""How often a merge that died without a word is started again before it is given up."""


@dataclass(frozen=True)
class Next:
    """What is to be served: `folder` with its `record` once it can be, None while it cannot or is already."""

    folder: str | None = None
    record: Mapping[str, object] | None = None
    doing: Status | None = None
    """What is being done about it; None when all is as it should be."""
    merge: tuple[StartMerge, ...] = ()
    failed: Status | None = None
    """Why the latest load cannot be had."""
    wake_at: datetime | None = None


def latest(row: DeploymentRow, rows: Sequence[DeployedModelRow]) -> DeployedModelRow | None:
    """The load whose addon is to be merged; None for the base as it is."""
    staying = [load for load in rows if load.model != row.model and load.state != LoadState.UNDEPLOYING]
    return max(staying, key=lambda load: (load.create_time, load.name), default=None)


def merged(row: DeploymentRow, rows: Sequence[DeployedModelRow]) -> DeployedModelRow | None:
    """The load whose addon answers, as far as the rows say; None for the base."""
    there = [
        load for load in rows if load.model != row.model and load.state in (LoadState.DEPLOYED, LoadState.UPDATING)
    ]
    return max(there, key=lambda load: (load.create_time, load.name), default=None)


def next_folder(
    row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, now: datetime
) -> Next:
    """What comes next on the way to the latest load."""
    load = latest(row, rows)
    if load is None:
        return Next() if row.served_folder == source.folder else Next(folder=source.folder)
    adapter = source.adapters.get(load.name)
    if adapter is None or adapter.problem:
        problem = adapter.problem if adapter is not None else "the model is gone"
        return Next(failed=Status.of(Code.FAILED_PRECONDITION, problem or ""))
    if row.served_folder == adapter.folder:
        return _starting(load, seen)
    return _merge(row, load, seen.merge or MergeView(), now)


def _starting(load: DeployedModelRow, seen: Seen) -> Next:
    """Replicas are started with the merged weights; what cannot be is given up, as long as nothing rests on it."""
    trouble = seen.trouble
    if trouble is not None and load.state == LoadState.DEPLOYING:
        if trouble.unloadable >= LOAD_TRIES or trouble.count >= START_TRIES:
            return Next(failed=Status.of(Code.INTERNAL, trouble.message))
        return Next(doing=Status.of(Code.UNAVAILABLE, f"{trouble.message}; restarting"))
    if load.state == LoadState.DEPLOYING:
        return Next(doing=ok("starting a replica with the merged weights"))
    return Next()


def _merge(row: DeploymentRow, load: DeployedModelRow, merge: MergeView, now: datetime) -> Next:
    if row.desired_replicas == 0 and load.state == LoadState.DEPLOYING:
        return Next()
    if merge.unknown:
        return Next(doing=ok("checking the files of the merged model"))
    if merge.folder is not None and merge.record is not None:
        return Next(folder=merge.folder, record=merge.record, doing=ok("starting a replica with the merged weights"))
    if merge.running:
        percent = "" if merge.progress is None else f" ({int(merge.progress * 10) * 10} %)"
        return Next(doing=ok(f"merging addon into base{percent}"))
    if merge.refused or merge.failures >= MERGE_TRIES:
        code = Code.FAILED_PRECONDITION if merge.refused else Code.INTERNAL
        return Next(failed=Status.of(code, f"merge failed: {merge.message}"))
    if merge.retry_at is not None and now < merge.retry_at:
        code = Code.DATA_LOSS if merge.damaged else Code.UNAVAILABLE
        again = Status.of(code, f"merge failed: {merge.message}; trying again")
        return Next(doing=again, wake_at=merge.retry_at)
    return Next(doing=ok("merging addon into base"), merge=(StartMerge(),))


def changes(
    row: DeploymentRow,
    rows: Sequence[DeployedModelRow],
    source: Source,
    seen: Seen,
    ready: frozenset[int],
    coming: Next,
    now: datetime,
) -> tuple[list[LoadChange], list[datetime]]:
    """The new states of the rows, and when time alone changes them. `ready` are the replicas that requests go to."""
    found: list[LoadChange] = []
    wake: list[datetime] = []
    target = latest(row, rows)
    serving = {replica.folder for replica in seen.replicas if replica.ordinal in ready}
    state, status = LoadState.DEPLOYED, ok()
    if target is not None:
        state, status = _target(row, target, source, serving, coming)
    replaced = target is not None and state == LoadState.DEPLOYED
    answering = target if replaced else merged(row, [load for load in rows if load is not target])
    for load in rows:
        if load.state == LoadState.UNDEPLOYING:
            held = _held(load, target, source, seen)
            change, wake_at = leaving(load, still_there=held, now=now)
            found += [change] if change else []
            wake += [wake_at] if wake_at else []
            continue
        if load is target:
            new = state, status
        elif load.model == row.model:
            new = _own(row, load, ready, answering)
        elif target is not None and (replaced or load.state == LoadState.DEPLOYING):
            new = LoadState.UNDEPLOYING, ok(f"replaced by {target.model}")
        else:
            new = load.state, load.status
        if new != (load.state, load.status):
            found.append(LoadChange(load.name, *new))
    return found, wake


def _target(
    row: DeploymentRow, load: DeployedModelRow, source: Source, serving: set[str], coming: Next
) -> tuple[str, Status]:
    adapter = source.adapters.get(load.name)
    if coming.failed is not None:
        # What was acknowledged is not dropped: it says why it does not serve.
        return (LoadState.UNDEPLOYING if load.state == LoadState.DEPLOYING else LoadState.UPDATING), coming.failed
    if adapter is not None and serving == {adapter.folder}:
        return LoadState.DEPLOYED, ok()
    if load.state != LoadState.DEPLOYING:
        return load.state, load.status
    if row.desired_replicas == 0:
        return LoadState.DEPLOYING, PARKED
    return LoadState.DEPLOYING, coming.doing or ok("waiting for the deployment to be ready")


def _own(
    row: DeploymentRow, load: DeployedModelRow, ready: frozenset[int], answering: DeployedModelRow | None
) -> tuple[str, Status]:
    """The base's own row: there from the first, but not what answers while an addon is merged into it."""
    if load.state != LoadState.DEPLOYED and not ready and row.desired_replicas > 0:
        return LoadState.DEPLOYING, ok("waiting for the deployment")
    return LoadState.DEPLOYED, ok("" if answering is None else f"{answering.model} is merged into it and answers")


def _held(load: DeployedModelRow, target: DeployedModelRow | None, source: Source, seen: Seen) -> bool:
    adapter = source.adapters.get(load.name)
    if adapter is None or not adapter.folder:
        return False
    wanted = source.adapters.get(target.name) if target is not None else None
    if wanted is not None and wanted.folder == adapter.folder:
        return False
    return any(r.folder == adapter.folder for r in seen.replicas if r.phase is not Phase.STARTING)
