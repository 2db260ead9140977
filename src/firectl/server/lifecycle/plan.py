"""What should happen next to a deployment? Pure: (row, its loads, what is seen, now) → state, status and one step each.

Must not read a clock, a file, a process or a database; `reconcile` carries out what is planned here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.schemas.words import DeploymentState, LoadState
from firectl.server.lifecycle import hot_reload, scaling
from firectl.server.lifecycle import loads as load_lifecycle
from firectl.server.lifecycle.hot_reload import LOAD_TRIES, MERGE_TRIES, START_TRIES
from firectl.server.lifecycle.observed import (
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
from firectl.server.lifecycle.turnover import Turnover, turn_over
from firectl.server.store.rows import DeployedModelRow, DeploymentRow


def plan(row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, now: datetime) -> Plan:
    """The next step for one deployment and every deployed model on it.

    Same input, same plan: called again after a crash it goes on from wherever things stand.
    """
    if row.state in (DeploymentState.DELETING, DeploymentState.DELETED):
        return _going(row, rows, seen, now)
    if row.state == DeploymentState.FAILED:
        return _failed(row, rows, seen, now, row.status)
    if source.damage is not None:
        return _damaged(row, rows, seen, source.damage, now)
    if row.desired_replicas == 0 and _wants_a_replica(row, rows):
        return Plan(row.state, row.status, wake=True)
    if row.desired_replicas > 0 and row.served_folder is None:
        return _prepare(row, rows, source, seen, now)
    return _scaled(row, rows, seen, _run(row, rows, source, seen, now), now)


def _scaled(row: DeploymentRow, rows: Sequence[DeployedModelRow], seen: Seen, found: Plan, now: datetime) -> Plan:
    """The plan, with another number of replicas where nobody asks for any, or the load asks for more or fewer."""
    if found.state == DeploymentState.FAILED:
        return found
    idle = scaling.idle_from(row, rows, seen)
    if idle is not None and idle <= now:
        return replace(found, desired=0)
    wake = min((at for at in (found.wake_at, idle) if at is not None), default=None)
    return replace(found, desired=seen.suggested, wake_at=wake)


def _wants_a_replica(row: DeploymentRow, rows: Sequence[DeployedModelRow]) -> bool:
    """Whether a load waits for a deployment that is only scaled to zero: it starts one. A parked one stays parked."""
    if row.resource.max_replica_count == 0:
        return False
    return any(load.state == LoadState.DEPLOYING and load.model != row.model for load in rows)


def _going(row: DeploymentRow, rows: Sequence[DeployedModelRow], seen: Seen, now: datetime) -> Plan:
    if seen.replicas:
        steps = tuple(StopReplica(r.ordinal, drain=False) for r in seen.replicas if r.phase is not Phase.STOPPING)
        going = tuple(
            LoadChange(load.name, LoadState.UNDEPLOYING, ok("the deployment is being deleted"))
            for load in rows
            if load.state != LoadState.UNDEPLOYING
        )
        return Plan(DeploymentState.DELETING, ok("stopping replicas"), steps, going)
    dropped = tuple(LoadChange(load.name, None, ok()) for load in rows)
    purge = row.purge_time is not None and row.purge_time <= now
    return Plan(DeploymentState.DELETED, ok(), loads=dropped, purge=purge, wake_at=None if purge else row.purge_time)


def _failed(row: DeploymentRow, rows: Sequence[DeployedModelRow], seen: Seen, now: datetime, status: Status) -> Plan:
    steps = tuple(StopReplica(r.ordinal, drain=False) for r in seen.replicas if r.phase is not Phase.STOPPING)
    reason = Status.of(Code.FAILED_PRECONDITION, f"the deployment failed: {status.message}")
    changes, wake_at = load_lifecycle.fail(rows, reason, now)
    return Plan(DeploymentState.FAILED, status, steps, changes, wake_at=wake_at)


def _damaged(row: DeploymentRow, rows: Sequence[DeployedModelRow], seen: Seen, damage: Status, now: datetime) -> Plan:
    """Nothing answers, for nobody knows what the replicas loaded; all goes on by itself when the files are right."""
    steps = tuple(StopReplica(r.ordinal, drain=False) for r in seen.replicas if r.phase is not Phase.STOPPING)
    changes, wake_at = load_lifecycle.hold(rows, damage, still_there=bool(seen.replicas), now=now)
    return Plan(_before_serving(row), damage, steps, changes, wake_at=wake_at)


def _prepare(row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, now: datetime) -> Plan:
    """Find or make the folder that replicas load."""
    if source.problem:
        return _failed(row, rows, seen, now, Status.of(Code.FAILED_PRECONDITION, source.problem))
    if source.unknown:
        return Plan(_before_serving(row), _checking(source))
    # An addon that was said to be merged answers or nothing does: its base must not answer in its place meanwhile.
    if not row.is_live_merge and not (row.is_hot_reload and hot_reload.merged(row, rows)):
        return Plan(_before_serving(row), ok("starting replica"), served_folder=source.folder)
    merge = seen.merge or MergeView()
    if merge.unknown:
        return Plan(_before_serving(row), _checking(source))
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
        code = Code.DATA_LOSS if merge.damaged else Code.UNAVAILABLE
        status = Status.of(code, f"merge failed: {merge.message}; trying again")
        return Plan(_before_serving(row), status, wake_at=merge.retry_at)
    return Plan(_before_serving(row), ok("merging adapter into base"), (StartMerge(),))


def _checking(source: Source) -> Status:
    return ok(f"checking the files of {', '.join(source.unknown) or 'the merged model'}")


def _before_serving(row: DeploymentRow) -> str:
    return DeploymentState.CREATING if row.state == DeploymentState.CREATING else DeploymentState.UPDATING


def _run(row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen, now: datetime) -> Plan:
    folder, trouble = row.served_folder, seen.trouble
    coming = hot_reload.Next()
    if row.is_hot_reload and folder is not None and not source.unknown:
        coming = hot_reload.next_folder(row, rows, source, seen, now)
    if trouble is not None and coming.failed is None and _hopeless(row, seen, trouble):
        return _failed(row, rows, seen, now, Status.of(Code.INTERNAL, trouble.message))
    # Files that changed may have been loaded half before and half after; what answered had loaded them before.
    doubtful = {r.ordinal for r in seen.replicas if source.unknown and r.ordinal not in seen.answering}
    replicas = [replica for replica in seen.replicas if replica.ordinal not in doubtful]
    alive = [replica for replica in replicas if replica.phase is not Phase.STOPPING]
    able = frozenset(r.ordinal for r in alive if load_lifecycle.is_ready(r, row, rows, source, seen))
    context = row.resource.max_context_length or None
    turn = turn_over(replicas, able, folder, context, row.desired_replicas, seen.room)
    steps: list[Step] = [StopReplica(ordinal, drain=True) for ordinal in turn.stop]
    steps += [StopReplica(r.ordinal, drain=False) for r in seen.replicas if r.ordinal in doubtful and _runs(r)]
    wake: list[datetime] = [coming.wake_at] if coming.wake_at is not None else []
    if turn.start and folder is not None and not source.unknown:
        if trouble is None or now >= trouble.retry_at:
            steps += [StartReplica(ordinal, folder, context) for ordinal in turn.start]
        else:
            wake.append(trouble.retry_at)
    kept = [replica for replica in alive if replica.ordinal not in turn.stop]
    adapter_steps, adapter_wake = load_lifecycle.steps(row, rows, source, seen, kept, now)
    if row.is_hot_reload:
        changes, load_wake = hot_reload.changes(row, rows, source, seen, turn.serving, coming, now)
    else:
        changes, load_wake = load_lifecycle.changes(row, rows, source, seen, turn.serving, now)
    state, status = _state(row, kept, turn, seen, coming)
    if source.unknown and len(turn.serving) < row.desired_replicas:
        status = _checking(source)
    leaving = len(seen.replicas) - len(kept)
    if leaving and state == DeploymentState.READY:
        status = _with_leaving(status, leaving)
    return Plan(
        state,
        status,
        (*steps, *adapter_steps, *coming.merge),
        tuple(changes),
        served_folder=coming.folder,
        merge_record=coming.record,
        wake_at=min((*wake, *adapter_wake, *load_wake), default=None),
        ready=turn.serving,
    )


def _runs(replica: ReplicaView) -> bool:
    return replica.phase is not Phase.STOPPING


def _hopeless(row: DeploymentRow, seen: Seen, trouble: Trouble) -> bool:
    if any(replica.phase is Phase.SERVING for replica in seen.replicas):
        return False
    return trouble.unloadable >= LOAD_TRIES or (row.state == DeploymentState.CREATING and trouble.count >= START_TRIES)


def _state(
    row: DeploymentRow, kept: Sequence[ReplicaView], turn: Turnover, seen: Seen, coming: hot_reload.Next
) -> tuple[str, Status]:
    wanted, ready, trouble = row.desired_replicas, turn.serving, seen.trouble
    if wanted == 0:
        parked = row.resource.max_replica_count == 0
        return DeploymentState.READY, ok("parked: max replica count is 0" if parked else "scaled to zero")
    if coming.doing is not None:
        return _before_serving(row), _with_room(coming.doing, turn, seen)
    if turn.old:
        doing = ok(f"replacing replicas: {turn.new_able} of {wanted} are new")
        return _before_serving(row), _with_room(doing, turn, seen)
    if len(ready) >= wanted:
        return DeploymentState.READY, ok()
    if any(r.phase is Phase.SERVING and r.ordinal not in ready for r in kept):
        doing = ok("loading adapters")
    elif trouble is not None:
        doing = Status.of(Code.UNAVAILABLE, f"{trouble.message}; restarting")
    else:
        doing = ok("starting replica")
    if ready:
        message = f"{len(ready)} of {wanted} replicas ready: {doing.message}"
        return DeploymentState.READY, Status(code=doing.code, message=message)
    return _before_serving(row), doing


def _with_leaving(status: Status, count: int) -> Status:
    """What is so, and that there are processes that no request goes to any more."""
    doing = "1 replica is finishing its answers" if count == 1 else f"{count} replicas are finishing their answers"
    return Status(code=status.code, message=f"{status.message}; {doing}" if status.message else doing)


def _with_room(doing: Status, turn: Turnover, seen: Seen) -> Status:
    """What is being done, and that it cannot be done without a gap where there is no room for one replica more."""
    if not turn.old or seen.room > 0:
        return doing
    why = "no room for one more (--max-replicas): one ends before the next starts"
    return Status(code=doing.code, message=f"{doing.message}; {why}")
