"""What should happen next to a deployment? Pure: (row, its loads, what is seen, now) → state, status and one step each.

Must not read a clock, a file, a process or a database; `reconcile` carries out what is planned here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from firectl.errors import Code
from firectl.schemas import deployed_model as loads
from firectl.schemas import deployment as states
from firectl.schemas.base import Status
from firectl.server import load_lifecycle
from firectl.server.rows import DeployedModelRow, DeploymentRow
from firectl.server.seen import (
    LoadChange,
    MergeView,
    Phase,
    Plan,
    ReplicaView,
    Seen,
    Source,
    StartMerge,
    StartReplica,
    Step,
    StopReplica,
    Trouble,
    ok,
)

LOAD_TRIES = 2
"""How often an engine that says itself why it cannot load the model is started again before FAILED."""
START_TRIES = 5
"""How often a replica may die before a deployment that never served is FAILED."""
MERGE_TRIES = 3
"""How often a merge that died without a word is started again before FAILED."""


def plan(row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, now: datetime) -> Plan:
    """The next step for one deployment and every deployed model on it.

    Same input, same plan: called again after a crash it goes on from wherever things stand.
    """
    if row.state in (states.DELETING, states.DELETED):
        return _going(row, rows, seen, now)
    if row.state == states.FAILED:
        return _failed(row, rows, seen, now, row.status)
    if row.desired_replicas == 0 and _wants_a_replica(row, rows):
        return Plan(row.state, row.status, wake=True)
    if row.desired_replicas > 0 and row.served_folder is None:
        return _prepare(row, rows, source, seen, now)
    return _run(row, rows, source, seen, now)


def _wants_a_replica(row: DeploymentRow, rows: Sequence[DeployedModelRow]) -> bool:
    """Whether a load waits for a deployment that is only scaled to zero: it starts one. A parked one stays parked."""
    if row.resource.max_replica_count == 0:
        return False
    return any(load.state == loads.DEPLOYING and load.model != row.model for load in rows)


def _going(row: DeploymentRow, rows: Sequence[DeployedModelRow], seen: Seen, now: datetime) -> Plan:
    if seen.replicas:
        steps = tuple(StopReplica(r.ordinal, drain=False) for r in seen.replicas if r.phase is not Phase.STOPPING)
        going = tuple(
            LoadChange(load.name, loads.UNDEPLOYING, ok("the deployment is being deleted"))
            for load in rows
            if load.state != loads.UNDEPLOYING
        )
        return Plan(states.DELETING, ok("stopping replicas"), steps, going)
    dropped = tuple(LoadChange(load.name, None, ok()) for load in rows)
    purge = row.purge_time is not None and row.purge_time <= now
    return Plan(states.DELETED, ok(), loads=dropped, purge=purge, wake_at=None if purge else row.purge_time)


def _failed(row: DeploymentRow, rows: Sequence[DeployedModelRow], seen: Seen, now: datetime, status: Status) -> Plan:
    steps = tuple(StopReplica(r.ordinal, drain=False) for r in seen.replicas if r.phase is not Phase.STOPPING)
    reason = Status.of(Code.FAILED_PRECONDITION, f"the deployment failed: {status.message}")
    changes, wake_at = load_lifecycle.fail(rows, reason, now)
    return Plan(states.FAILED, status, steps, changes, wake_at=wake_at)


def _prepare(row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, now: datetime) -> Plan:
    """Find or make the folder that replicas load."""
    if source.problem:
        return _failed(row, rows, seen, now, Status.of(Code.FAILED_PRECONDITION, source.problem))
    if not row.is_live_merge:
        return Plan(_before_serving(row), ok("starting replica"), served_folder=source.folder)
    merge = seen.merge or MergeView()
    if merge.folder is not None and merge.record is not None:
        status = ok("starting replica")
        return Plan(_before_serving(row), status, served_folder=merge.folder, merge_record=merge.record)
    if merge.running:
        percent = "" if merge.progress is None else f" ({int(merge.progress * 10) * 10} %)"
        return Plan(_before_serving(row), ok(f"merging adapter into base{percent}"))
    if merge.refused or merge.failures >= MERGE_TRIES:
        code = Code.INVALID_ARGUMENT if merge.refused else Code.INTERNAL
        return _failed(row, rows, seen, now, Status.of(code, f"merge failed: {merge.message}"))
    if merge.retry_at is not None and now < merge.retry_at:
        status = Status.of(Code.UNAVAILABLE, f"merge failed: {merge.message}; trying again")
        return Plan(_before_serving(row), status, wake_at=merge.retry_at)
    return Plan(_before_serving(row), ok("merging adapter into base"), (StartMerge(),))


def _before_serving(row: DeploymentRow) -> str:
    return states.CREATING if row.state == states.CREATING else states.UPDATING


def _run(row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, now: datetime) -> Plan:
    folder, trouble = row.served_folder, seen.trouble
    if trouble is not None and _hopeless(row, seen, trouble):
        return _failed(row, rows, seen, now, Status.of(Code.INTERNAL, trouble.message))
    steps: list[Step] = []
    wake: list[datetime] = []
    kept: list[ReplicaView] = []
    for replica in seen.replicas:
        if replica.ordinal >= row.desired_replicas or replica.folder != folder:
            if replica.phase is not Phase.STOPPING:
                steps.append(StopReplica(replica.ordinal, drain=True))
        elif replica.phase is not Phase.STOPPING:
            kept.append(replica)
    taken = {replica.ordinal for replica in seen.replicas}
    missing = [ordinal for ordinal in range(row.desired_replicas) if ordinal not in taken]
    if missing and folder is not None:
        if trouble is None or now >= trouble.retry_at:
            steps += [StartReplica(ordinal, folder) for ordinal in missing]
        else:
            wake.append(trouble.retry_at)
    adapter_steps, adapter_wake = load_lifecycle.steps(row, rows, source, seen, kept, now)
    steps += adapter_steps
    wake += adapter_wake
    ready = frozenset(r.ordinal for r in kept if load_lifecycle.is_ready(r, row, rows, source, seen))
    changes, load_wake = load_lifecycle.changes(row, rows, source, seen, ready, now)
    wake += load_wake
    state, status = _state(row, kept, ready, trouble)
    return Plan(state, status, tuple(steps), tuple(changes), wake_at=min(wake, default=None), ready=ready)


def _hopeless(row: DeploymentRow, seen: Seen, trouble: Trouble) -> bool:
    if any(replica.phase is Phase.SERVING for replica in seen.replicas):
        return False
    return trouble.unloadable >= LOAD_TRIES or (row.state == states.CREATING and trouble.count >= START_TRIES)


def _state(
    row: DeploymentRow, kept: Sequence[ReplicaView], ready: frozenset[int], trouble: Trouble | None
) -> tuple[str, Status]:
    wanted = row.desired_replicas
    if wanted == 0:
        parked = row.resource.max_replica_count == 0
        return states.READY, ok("parked: max replica count is 0" if parked else "scaled to zero")
    if len(ready) >= wanted:
        return states.READY, ok()
    if any(r.phase is Phase.SERVING and r.ordinal not in ready for r in kept):
        doing = ok("loading adapters")
    elif trouble is not None:
        doing = Status.of(Code.UNAVAILABLE, f"{trouble.message}; restarting")
    else:
        doing = ok("starting replica")
    if ready:
        message = f"{len(ready)} of {wanted} replicas ready: {doing.message}"
        return states.READY, Status(code=doing.code, message=message)
    return _before_serving(row), doing
