"""What should happen to the adapters on a deployment's replicas, and which states do the deployed models get? Pure.

Must not decide about the deployment itself: `plan.py` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.schemas.words import LoadState
from firectl.server.lifecycle.observed import (
    AddonSource,
    LoadAdapter,
    LoadChange,
    ObservedAdapter,
    Phase,
    PlanInput,
    ReplicaView,
    Step,
    UnloadAdapter,
    ok,
)
from firectl.server.store.rows import DeployedModelRow

PARKED = Status.of(Code.FAILED_PRECONDITION, "waiting for the deployment: it is parked (max replica count 0)")
"""The status of a load on a parked deployment. Loading begins when the user allows replicas again."""
FAILED_LOAD_SHOWN = timedelta(seconds=15)
"""How long the row of a failed load stays readable."""


class LoadChanges:
    """Collects the new states of deployed models (`found`) and the times at which to plan again (`wake`)."""

    def __init__(self, now: datetime) -> None:
        self.found: list[LoadChange] = []
        self.wake: list[datetime] = []
        self._now = now

    def put(self, load: DeployedModelRow, state: str, status: Status) -> None:
        """Record the state and status of a load, unless its row already has both."""
        if (state, status) != (load.state, load.status):
            self.found.append(LoadChange(load.name, state, status))

    def leave(self, load: DeployedModelRow, *, still_there: bool) -> None:
        """Drop the row of an UNDEPLOYING load, unless its adapter is `still_there` on a replica.

        The row of a failed load is kept for FAILED_LOAD_SHOWN.
        """
        if still_there:
            return
        until = load.update_time + FAILED_LOAD_SHOWN
        if load.status.code not in (None, "OK") and self._now < until:
            self.wake.append(until)
        else:
            self.found.append(LoadChange(load.name, None, load.status))


def fail(loads: Iterable[DeployedModelRow], reason: Status, now: datetime) -> LoadChanges:
    """Undeploy every load of a failed deployment, with `reason` as the status."""
    found = LoadChanges(now)
    for load in loads:
        if load.state == LoadState.UNDEPLOYING:
            found.leave(load, still_there=False)
        else:
            found.put(load, LoadState.UNDEPLOYING, reason)
    return found


def hold(loads: Iterable[DeployedModelRow], damage: Status, *, still_there: bool, now: datetime) -> LoadChanges:
    """Keep every load of a deployment whose files are damaged, with `damage` as the status."""
    found = LoadChanges(now)
    for load in loads:
        if load.state == LoadState.UNDEPLOYING:
            found.leave(load, still_there=still_there)
        else:
            found.put(load, _not_deployed(load), damage)
    return found


def _not_deployed(load: DeployedModelRow) -> str:
    return LoadState.DEPLOYING if load.state == LoadState.DEPLOYING else LoadState.UPDATING


def _wanted(given: PlanInput) -> list[DeployedModelRow]:
    """Return the loads that need an adapter on every replica: none with hot reload, which merges the addon instead."""
    if given.row.is_hot_reload:
        return []
    return [load for load in given.loads if load.model != given.row.model and load.state != LoadState.UNDEPLOYING]


def steps(given: PlanInput, kept: Sequence[ReplicaView]) -> tuple[list[Step], list[datetime]]:
    """Return the adapters to load and unload on the replicas in `kept`, and the times at which to plan again."""
    steps: list[Step] = []
    wake: list[datetime] = []
    adapters, faults = given.source.adapters, given.seen.faults
    found = [(load, adapters[load.name]) for load in _wanted(given) if load.name in adapters]
    # An adapter that is loaded while its files change may mix old and new content. A DEPLOYED one was loaded earlier.
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
            if state is ObservedAdapter.LOADED and name not in names
        ]
        for adapter in wanted:
            if adapter.problem or adapter.unknown or adapter.engine_name in replica.adapters:
                continue
            fault = faults.get(adapter.engine_name)
            if fault is None or given.now >= fault.retry_at:
                steps.append(LoadAdapter(replica.ordinal, adapter.engine_name, adapter.folder))
            else:
                wake.append(fault.retry_at)
    return steps, wake


def is_ready(replica: ReplicaView, given: PlanInput) -> bool:
    """Whether a replica serves and has loaded every DEPLOYED adapter, except adapters that cannot be loaded now."""
    if replica.phase is not Phase.SERVING:
        return False
    for load in _wanted(given):
        adapter = given.source.adapters.get(load.name)
        if load.state != LoadState.DEPLOYED or adapter is None or adapter.engine_name in given.seen.faults:
            continue
        if adapter.problem or adapter.damage is not None or adapter.unknown:
            continue
        if replica.adapters.get(adapter.engine_name) is not ObservedAdapter.LOADED:
            return False
    return True


def changes(given: PlanInput, ready: frozenset[int]) -> LoadChanges:
    """Return the new states of the deployed models. `ready` holds the ordinals of the replicas that take requests."""
    found = LoadChanges(given.now)
    for load in given.loads:
        if load.state == LoadState.UNDEPLOYING:
            adapter = given.source.adapters.get(load.name)
            held = adapter is not None and any(adapter.engine_name in r.adapters for r in given.seen.replicas)
            found.leave(load, still_there=held and not _another_keeps(given, load, adapter))
        else:
            found.put(load, *_load_state(given, load, ready))
    return found


def _another_keeps(given: PlanInput, load: DeployedModelRow, adapter: AddonSource | None) -> bool:
    """Whether another load with the same weights still needs the adapter of `load`, which is being unloaded."""
    others = (given.source.adapters.get(other.name) for other in _wanted(given) if other.name != load.name)
    return any(other is not None and adapter and other.engine_name == adapter.engine_name for other in others)


def _load_state(given: PlanInput, load: DeployedModelRow, ready: frozenset[int]) -> tuple[str, Status]:
    row, seen = given.row, given.seen
    if load.model == row.model:
        if load.state == LoadState.DEPLOYED or ready or row.desired_replicas == 0:
            return LoadState.DEPLOYED, ok()
        return LoadState.DEPLOYING, ok("waiting for the deployment")
    adapter = given.source.adapters.get(load.name)
    problem = adapter.problem if adapter is not None else "the model is gone"
    fault = seen.faults.get(adapter.engine_name) if adapter is not None else None
    if problem or (fault is not None and fault.final):
        reason = Status.of(Code.FAILED_PRECONDITION, problem or (fault.message if fault else ""))
        # A load that was DEPLOYED before is kept and tried again; its status shows the reason.
        return (LoadState.UNDEPLOYING if load.state == LoadState.DEPLOYING else LoadState.UPDATING), reason
    if adapter is not None and adapter.damage is not None:
        return _not_deployed(load), adapter.damage
    if adapter is not None and adapter.unknown and load.state == LoadState.DEPLOYING:
        return LoadState.DEPLOYING, ok(f"checking the files of {load.model}")
    if fault is not None:
        return _not_deployed(load), Status.of(Code.UNAVAILABLE, f"{fault.message}; trying again")
    if load.state == LoadState.DEPLOYED:
        return LoadState.DEPLOYED, load.status
    loaded = ObservedAdapter.LOADED
    holders = {r.ordinal for r in seen.replicas if adapter and r.adapters.get(adapter.engine_name) is loaded}
    if ready and ready <= holders:
        return LoadState.DEPLOYED, ok()
    if load.state == LoadState.UPDATING:
        return LoadState.UPDATING, load.status
    if ready:
        return LoadState.DEPLOYING, ok("loading adapter")
    if row.desired_replicas == 0:
        return LoadState.DEPLOYING, PARKED
    return LoadState.DEPLOYING, ok("waiting for the deployment to be ready")
