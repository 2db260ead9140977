"""What should happen next to a deployment? Pure: its rows, what runs and the time → a state, a status and steps.

Must not read a clock, a file, a process or a database; `replicas/reconcile.py` carries the plan out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.schemas.words import DeploymentState, LoadState
from firectl.server.lifecycle import hot_reload, scaling
from firectl.server.lifecycle import loads as load_rules
from firectl.server.lifecycle.merging import NextFolder, next_merge
from firectl.server.lifecycle.observed import (
    LOAD_TRIES,
    START_TRIES,
    LoadChange,
    LoadSource,
    MergeView,
    Phase,
    Plan,
    PlanInput,
    ReplicaView,
    Seen,
    StartReplica,
    Step,
    StopReplica,
    Trouble,
    ok,
)
from firectl.server.lifecycle.turnover import Turnover, turn_over
from firectl.server.store.rows import DeployedModelRow, DeploymentRow


def plan(row: DeploymentRow, loads: Sequence[DeployedModelRow], source: LoadSource, seen: Seen, now: datetime) -> Plan:
    """Plan the next steps for one deployment and its deployed models.

    The plan depends on the arguments alone, so a platform that crashed continues from what it finds.
    """
    given = PlanInput(row, loads, source, seen, now)
    if row.state in (DeploymentState.DELETING, DeploymentState.DELETED):
        return _deleting(given)
    if row.state == DeploymentState.FAILED:
        return _failed(given, row.status)
    if source.damage is not None:
        changes = load_rules.hold(loads, source.damage, still_there=bool(seen.replicas), now=now)
        return _without_replicas(given, _before_serving(row), source.damage, changes)
    if row.desired_replicas == 0 and _needs_a_replica(given):
        return Plan(row.state, row.status, wake=True)
    if row.desired_replicas > 0 and row.served_folder is None:
        return _prepare(given)
    return _scaled(given, _run(given))


def _scaled(given: PlanInput, found: Plan) -> Plan:
    """Add another number of replicas to the plan if the deployment is idle or its traffic needs more or fewer."""
    if found.state == DeploymentState.FAILED:
        return found
    idle = scaling.idle_from(given.row, given.loads, given.seen)
    if idle is not None and idle <= given.now:
        return replace(found, desired=0)
    wake = min((at for at in (found.wake_at, idle) if at is not None), default=None)
    return replace(found, desired=given.seen.suggested, wake_at=wake)


def _needs_a_replica(given: PlanInput) -> bool:
    """Whether a load waits for a replica. Always False for a parked deployment, which may not start any."""
    if given.row.resource.max_replica_count == 0:
        return False
    return any(load.state == LoadState.DEPLOYING and load.model != given.row.model for load in given.loads)


def _deleting(given: PlanInput) -> Plan:
    row = given.row
    if given.seen.replicas:
        leaving = tuple(
            LoadChange(load.name, LoadState.UNDEPLOYING, ok("the deployment is being deleted"))
            for load in given.loads
            if load.state != LoadState.UNDEPLOYING
        )
        return Plan(DeploymentState.DELETING, ok("stopping replicas"), _stop_now(given.seen.replicas), leaving)
    dropped = tuple(LoadChange(load.name, None, ok()) for load in given.loads)
    purge = row.purge_time is not None and row.purge_time <= given.now
    return Plan(DeploymentState.DELETED, ok(), loads=dropped, purge=purge, wake_at=None if purge else row.purge_time)


def _failed(given: PlanInput, status: Status) -> Plan:
    reason = Status.of(Code.FAILED_PRECONDITION, f"the deployment failed: {status.message}")
    changes = load_rules.fail(given.loads, reason, given.now)
    return _without_replicas(given, DeploymentState.FAILED, status, changes)


def _without_replicas(given: PlanInput, state: str, status: Status, changes: load_rules.LoadChanges) -> Plan:
    steps = _stop_now(given.seen.replicas)
    return Plan(state, status, steps, tuple(changes.found), wake_at=min(changes.wake, default=None))


def _stop_now(replicas: Sequence[ReplicaView]) -> tuple[Step, ...]:
    return tuple(StopReplica(r.ordinal, drain=False) for r in replicas if r.phase is not Phase.STOPPING)


def _prepare(given: PlanInput) -> Plan:
    """Plan how to get the folder that replicas load, while the deployment has none."""
    row, source = given.row, given.source
    state = _before_serving(row)
    if source.problem:
        return _failed(given, Status.of(Code.FAILED_PRECONDITION, source.problem))
    if source.unknown:
        return Plan(state, _checking(source))
    # While an addon is DEPLOYED, the unmerged base must not answer instead.
    if not row.is_live_merge and not (row.is_hot_reload and hot_reload.merged(row, given.loads)):
        return Plan(state, ok("starting replica"), served_folder=source.folder)
    coming = next_merge(given.seen.merge or MergeView(), given.now, "adapter", Code.INVALID_ARGUMENT)
    if coming.failed is not None:
        return _failed(given, coming.failed)
    doing = coming.doing if coming.doing is not None and coming.folder is None else ok("starting replica")
    return Plan(
        state,
        doing,
        coming.steps,
        served_folder=coming.folder,
        merge_record=coming.record,
        wake_at=coming.wake_at,
    )


def _checking(source: LoadSource) -> Status:
    return ok(f"checking the files of {', '.join(source.unknown)}")


def _before_serving(row: DeploymentRow) -> str:
    return DeploymentState.CREATING if row.state == DeploymentState.CREATING else DeploymentState.UPDATING


def _run(given: PlanInput) -> Plan:
    row, source, seen = given.row, given.source, given.seen
    folder, trouble = row.served_folder, seen.trouble
    coming = NextFolder()
    if row.is_hot_reload and folder is not None and not source.unknown:
        coming = hot_reload.next_folder(given)
    if trouble is not None and coming.failed is None and _is_hopeless(row, seen, trouble):
        return _failed(given, Status.of(Code.INTERNAL, trouble.message))
    # A replica that loads while the files change may mix old and new content. One that answers loaded them earlier.
    doubtful = [r for r in seen.replicas if source.unknown and r.ordinal not in seen.answering]
    replicas = [replica for replica in seen.replicas if replica not in doubtful]
    alive = [replica for replica in replicas if replica.phase is not Phase.STOPPING]
    able = frozenset(r.ordinal for r in alive if load_rules.is_ready(r, given))
    context = row.resource.max_context_length or None
    turn = turn_over(replicas, able, folder, context, row.desired_replicas, seen.room)
    steps: list[Step] = [StopReplica(ordinal, drain=True) for ordinal in turn.stop]
    steps += _stop_now(doubtful)
    wake = [coming.wake_at] if coming.wake_at is not None else []
    if turn.start and folder is not None and not source.unknown:
        if trouble is None or given.now >= trouble.retry_at:
            steps += [StartReplica(ordinal, folder, context) for ordinal in turn.start]
        else:
            wake.append(trouble.retry_at)
    kept = [replica for replica in alive if replica.ordinal not in turn.stop]
    adapter_steps, adapter_wake = load_rules.steps(given, kept)
    if row.is_hot_reload:
        changes = hot_reload.changes(given, turn.serving, coming)
    else:
        changes = load_rules.changes(given, turn.serving)
    state, status = _state(given, kept, turn, coming)
    if source.unknown and len(turn.serving) < row.desired_replicas:
        status = _checking(source)
    leaving = len(seen.replicas) - len(kept)
    if leaving and state == DeploymentState.READY:
        status = _with_leaving(status, leaving)
    return Plan(
        state,
        status,
        (*steps, *adapter_steps, *coming.steps),
        tuple(changes.found),
        served_folder=coming.folder,
        merge_record=coming.record,
        wake_at=min((*wake, *adapter_wake, *changes.wake), default=None),
        ready=turn.serving,
    )


def _is_hopeless(row: DeploymentRow, seen: Seen, trouble: Trouble) -> bool:
    if any(replica.phase is Phase.SERVING for replica in seen.replicas):
        return False
    return trouble.unloadable >= LOAD_TRIES or (row.state == DeploymentState.CREATING and trouble.count >= START_TRIES)


def _state(given: PlanInput, kept: Sequence[ReplicaView], turn: Turnover, coming: NextFolder) -> tuple[str, Status]:
    row, room, trouble = given.row, given.seen.room, given.seen.trouble
    wanted, ready = row.desired_replicas, turn.serving
    if wanted == 0:
        parked = row.resource.max_replica_count == 0
        return DeploymentState.READY, ok("parked: max replica count is 0" if parked else "scaled to zero")
    if coming.doing is not None:
        return _before_serving(row), _with_room(coming.doing, turn, room)
    if turn.old:
        doing = ok(f"replacing replicas: {turn.new_able} of {wanted} are new")
        return _before_serving(row), _with_room(doing, turn, room)
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


_LEAVING = re.compile(r"(?:; )?(?:1 replica is finishing its|\d+ replicas are finishing their) answers$")


def without_leaving(status: Status) -> Status:
    """Remove the words of `_with_leaving` from a status: the last process ended after the status was written."""
    if status.message is None or (found := _LEAVING.search(status.message)) is None:
        return status
    return Status(code=status.code, message=status.message[: found.start()])


def _with_leaving(status: Status, count: int) -> Status:
    """Add to the status how many replicas take no new requests but still finish their answers."""
    doing = "1 replica is finishing its answers" if count == 1 else f"{count} replicas are finishing their answers"
    return Status(code=status.code, message=f"{status.message}; {doing}" if status.message else doing)


def _with_room(doing: Status, turn: Turnover, room: int) -> Status:
    """Add to the status that an old replica ends before a new one starts, if there is no room for both."""
    if not turn.old or room > 0:
        return doing
    why = "no room for one more (--max-replicas): one ends before the next starts"
    return Status(code=doing.code, message=f"{doing.message}; {why}")
