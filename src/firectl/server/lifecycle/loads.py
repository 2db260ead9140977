"""What should happen next to the adapters on a deployment's replicas, and to the rows that asked for them? Pure.

Must not decide anything about the deployment itself: that is `lifecycle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.schemas.words import LoadState
from firectl.server.lifecycle.observed import (
    Adapter,
    AdapterSource,
    LoadAdapter,
    LoadChange,
    Phase,
    ReplicaView,
    Seen,
    Source,
    Step,
    UnloadAdapter,
    ok,
)
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

PARKED = Status.of(Code.FAILED_PRECONDITION, "waiting for the deployment: it is parked (max replica count 0)")
"""Said of a load that cannot come about by itself: it begins when somebody lets the deployment run."""
FAILED_LOAD_SHOWN = timedelta(seconds=15)
"""How long the row of a load that failed stays to be read."""


def fail(
    rows: Iterable[DeployedModelRow], reason: Status, now: datetime
) -> tuple[tuple[LoadChange, ...], datetime | None]:
    changes: list[LoadChange] = []
    wake: list[datetime] = []
    for load in rows:
        if load.state != LoadState.UNDEPLOYING:
            changes.append(LoadChange(load.name, LoadState.UNDEPLOYING, reason))
            continue
        change, wake_at = leaving(load, still_there=False, now=now)
        changes += [change] if change else []
        wake += [wake_at] if wake_at else []
    return tuple(changes), min(wake, default=None)


def hold(
    rows: Iterable[DeployedModelRow], damage: Status, *, still_there: bool, now: datetime
) -> tuple[tuple[LoadChange, ...], datetime | None]:
    """Nothing answers for a while: what is loaded says why, and is not given up."""
    changes: list[LoadChange] = []
    wake: list[datetime] = []
    for load in rows:
        if load.state == LoadState.UNDEPLOYING:
            change, wake_at = leaving(load, still_there=still_there, now=now)
            changes += [change] if change else []
            wake += [wake_at] if wake_at else []
        elif (new := _held(load, damage)) != (load.state, load.status):
            changes.append(LoadChange(load.name, *new))
    return tuple(changes), min(wake, default=None)


def _held(load: DeployedModelRow, damage: Status) -> tuple[str, Status]:
    return (LoadState.DEPLOYING if load.state == LoadState.DEPLOYING else LoadState.UPDATING), damage


def leaving(load: DeployedModelRow, *, still_there: bool, now: datetime) -> tuple[LoadChange | None, datetime | None]:
    """An unload ends when no replica holds the adapter; a failed load also stays a while to be read."""
    if still_there:
        return None, None
    if load.status.code not in (None, "OK"):
        until = load.update_time + FAILED_LOAD_SHOWN
        if now < until:
            return None, until
    return LoadChange(load.name, None, load.status), None


def _wanted(row: DeploymentRow, rows: Iterable[DeployedModelRow]) -> list[DeployedModelRow]:
    """The loads that need an adapter on every replica: all but the deployment's own model, what is leaving, and what is
    merged."""
    if row.is_hot_reload:
        return []
    return [load for load in rows if load.model != row.model and load.state != LoadState.UNDEPLOYING]


def steps(
    row: DeploymentRow,
    rows: Sequence[DeployedModelRow],
    source: Source,
    seen: Seen,
    kept: Sequence[ReplicaView],
    now: datetime,
) -> tuple[list[Step], list[datetime]]:
    steps: list[Step] = []
    wake: list[datetime] = []
    found = [(load, source.adapters[load.name]) for load in _wanted(row, rows) if load.name in source.adapters]
    # What is loaded while its files change may be half of each; what was DEPLOYED had been loaded before.
    wanted = [
        adapter
        for load, adapter in found
        if adapter.damage is None and not (adapter.unknown and load.state != LoadState.DEPLOYED)
    ]
    names = {adapter.engine_name for adapter in wanted}
    for replica in kept:
        if replica.phase is not Phase.SERVING:
            continue
        steps += [
            UnloadAdapter(replica.ordinal, name)
            for name, state in replica.adapters.items()
            if state is Adapter.LOADED and name not in names
        ]
        for adapter in wanted:
            if adapter.problem or adapter.unknown or adapter.engine_name in replica.adapters:
                continue
            fault = seen.faults.get(adapter.engine_name)
            if fault is None or now >= fault.retry_at:
                steps.append(LoadAdapter(replica.ordinal, adapter.engine_name, adapter.folder))
            else:
                wake.append(fault.retry_at)
    return steps, wake


def is_ready(
    replica: ReplicaView, row: DeploymentRow, rows: Sequence[DeployedModelRow], source: Source, seen: Seen
) -> bool:
    """Serving, with every adapter that was said to be DEPLOYED; one that cannot be had again does not hold it up."""
    if replica.phase is not Phase.SERVING:
        return False
    for load in _wanted(row, rows):
        adapter = source.adapters.get(load.name)
        if load.state != LoadState.DEPLOYED or adapter is None or adapter.engine_name in seen.faults:
            continue
        if adapter.problem or adapter.damage is not None or adapter.unknown:
            continue
        if replica.adapters.get(adapter.engine_name) is not Adapter.LOADED:
            return False
    return True


def changes(
    row: DeploymentRow,
    rows: Sequence[DeployedModelRow],
    source: Source,
    seen: Seen,
    ready: frozenset[int],
    now: datetime,
) -> tuple[list[LoadChange], list[datetime]]:
    changes: list[LoadChange] = []
    wake: list[datetime] = []
    for load in rows:
        if load.state == LoadState.UNDEPLOYING:
            adapter = source.adapters.get(load.name)
            held = adapter is not None and any(adapter.engine_name in r.adapters for r in seen.replicas)
            shared = adapter is not None and _another_keeps(load, adapter, row, rows, source)
            change, wake_at = leaving(load, still_there=held and not shared, now=now)
            changes += [change] if change else []
            wake += [wake_at] if wake_at else []
            continue
        state, status = _load_state(load, row, source, seen, ready)
        if (state, status) != (load.state, load.status):
            changes.append(LoadChange(load.name, state, status))
    return changes, wake


def _another_keeps(
    load: DeployedModelRow,
    adapter: AdapterSource,
    row: DeploymentRow,
    rows: Sequence[DeployedModelRow],
    source: Source,
) -> bool:
    """Whether a newer load of the same weights still wants the adapter that this one gives up."""
    others = (source.adapters.get(other.name) for other in _wanted(row, rows) if other.name != load.name)
    return any(other is not None and other.engine_name == adapter.engine_name for other in others)


def _load_state(
    load: DeployedModelRow, row: DeploymentRow, source: Source, seen: Seen, ready: frozenset[int]
) -> tuple[str, Status]:
    if load.model == row.model:
        if load.state == LoadState.DEPLOYED or ready or row.desired_replicas == 0:
            return LoadState.DEPLOYED, ok()
        return LoadState.DEPLOYING, ok("waiting for the deployment")
    adapter = source.adapters.get(load.name)
    problem = adapter.problem if adapter is not None else "the model is gone"
    fault = seen.faults.get(adapter.engine_name) if adapter is not None else None
    if problem or (fault is not None and fault.final):
        reason = Status.of(Code.FAILED_PRECONDITION, problem or (fault.message if fault else ""))
        # What was acknowledged is not dropped: it is tried again, and says why it does not serve meanwhile.
        return (LoadState.UNDEPLOYING if load.state == LoadState.DEPLOYING else LoadState.UPDATING), reason
    if adapter is not None and adapter.damage is not None:
        return _held(load, adapter.damage)
    if adapter is not None and adapter.unknown and load.state == LoadState.DEPLOYING:
        return LoadState.DEPLOYING, ok(f"checking the files of {load.model}")
    if fault is not None:
        state = LoadState.DEPLOYING if load.state == LoadState.DEPLOYING else LoadState.UPDATING
        return state, Status.of(Code.UNAVAILABLE, f"{fault.message}; trying again")
    holders = [r.ordinal for r in seen.replicas if adapter and r.adapters.get(adapter.engine_name) is Adapter.LOADED]
    if load.state == LoadState.DEPLOYED:
        return LoadState.DEPLOYED, load.status
    if ready and ready.issubset(holders):
        return LoadState.DEPLOYED, ok()
    if load.state == LoadState.UPDATING:
        return LoadState.UPDATING, load.status
    if ready:
        return LoadState.DEPLOYING, ok("loading adapter")
    if row.desired_replicas == 0:
        return LoadState.DEPLOYING, PARKED
    return LoadState.DEPLOYING, ok("waiting for the deployment to be ready")
