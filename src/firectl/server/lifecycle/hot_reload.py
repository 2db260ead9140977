"""Which addon should be merged into a hot-reload deployment, and which states do the deployed models get? Pure.

The latest load is merged; the previous one is unloaded once the latest answers.
Must not start or stop replicas: `plan.py` plans that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from firectl.errors import Code
from firectl.schemas.base import Status
from firectl.schemas.words import LoadState
from firectl.server.lifecycle.loads import PARKED, LoadChanges
from firectl.server.lifecycle.merging import NextFolder, next_merge
from firectl.server.lifecycle.observed import LOAD_TRIES, START_TRIES, MergeView, Phase, PlanInput, ok
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

_STARTING = ok("starting a replica with the merged weights")


def latest(row: DeploymentRow, loads: Sequence[DeployedModelRow]) -> DeployedModelRow | None:
    """Return the newest load whose addon must be merged; None if the base must answer unmerged."""
    return _newest(load for load in loads if load.model != row.model and load.state != LoadState.UNDEPLOYING)


def merged(row: DeploymentRow, loads: Sequence[DeployedModelRow]) -> DeployedModelRow | None:
    """Return the newest load whose addon answers, according to the rows; None if the unmerged base answers."""
    states = (LoadState.DEPLOYED, LoadState.UPDATING)
    return _newest(load for load in loads if load.model != row.model and load.state in states)


def _newest(loads: Iterable[DeployedModelRow]) -> DeployedModelRow | None:
    return max(loads, key=lambda load: (load.create_time, load.name), default=None)


def next_folder(given: PlanInput) -> NextFolder:
    """Return the next step towards serving the folder that the latest load needs."""
    row, source, trouble = given.row, given.source, given.seen.trouble
    load = latest(row, given.loads)
    if load is None:
        return NextFolder() if row.served_folder == source.folder else NextFolder(source.folder)
    adapter = source.adapters.get(load.name)
    if adapter is None or adapter.problem:
        problem = (adapter.problem if adapter is not None else None) or "the model is gone"
        return NextFolder(failed=Status.of(Code.FAILED_PRECONDITION, problem))
    if row.served_folder != adapter.folder:
        if row.desired_replicas == 0 and load.state == LoadState.DEPLOYING:
            return NextFolder()
        return next_merge(given.seen.merge or MergeView(), given.now, "addon", Code.FAILED_PRECONDITION)
    if load.state != LoadState.DEPLOYING:
        return NextFolder()
    if trouble is None:
        return NextFolder(doing=_STARTING)
    if trouble.unloadable >= LOAD_TRIES or trouble.count >= START_TRIES:
        return NextFolder(failed=Status.of(Code.INTERNAL, trouble.message))
    return NextFolder(doing=Status.of(Code.UNAVAILABLE, f"{trouble.message}; restarting"))


def changes(given: PlanInput, ready: Collection[int], coming: NextFolder) -> LoadChanges:
    """Return the new states of the deployed models. `ready` holds the ordinals of the replicas that take requests."""
    row, loads = given.row, given.loads
    found = LoadChanges(given.now)
    target = latest(row, loads)
    state, status = LoadState.DEPLOYED, ok()
    if target is not None:
        state, status = _target(given, target, ready, coming)
    replaced = target is not None and state == LoadState.DEPLOYED
    answering = target if replaced else merged(row, [load for load in loads if load is not target])
    for load in loads:
        if load.state == LoadState.UNDEPLOYING:
            found.leave(load, still_there=_is_held(given, load, target))
        elif load is target:
            found.put(load, state, status)
        elif load.model == row.model:
            found.put(load, *_own(row, load, ready, answering))
        elif target is not None and (replaced or load.state == LoadState.DEPLOYING):
            found.put(load, LoadState.UNDEPLOYING, ok(f"replaced by {target.model}"))
    return found


def _target(given: PlanInput, load: DeployedModelRow, ready: Collection[int], coming: NextFolder) -> tuple[str, Status]:
    adapter = given.source.adapters.get(load.name)
    if coming.failed is not None:
        # A load that was DEPLOYED before is kept; its status shows the reason.
        return (LoadState.UNDEPLOYING if load.state == LoadState.DEPLOYING else LoadState.UPDATING), coming.failed
    serving = {replica.folder for replica in given.seen.replicas if replica.ordinal in ready}
    if adapter is not None and serving == {adapter.folder}:
        return LoadState.DEPLOYED, ok()
    if load.state != LoadState.DEPLOYING:
        return load.state, load.status
    if given.row.desired_replicas == 0:
        return LoadState.DEPLOYING, PARKED
    return LoadState.DEPLOYING, coming.doing or ok("waiting for the deployment to be ready")


def _own(
    row: DeploymentRow, load: DeployedModelRow, ready: Collection[int], answering: DeployedModelRow | None
) -> tuple[str, Status]:
    """Return the state of the base's own row. The row is kept even while a merged addon answers instead of the base."""
    if load.state != LoadState.DEPLOYED and not ready and row.desired_replicas > 0:
        return LoadState.DEPLOYING, ok("waiting for the deployment")
    return LoadState.DEPLOYED, ok("" if answering is None else f"{answering.model} is merged into it and answers")


def _is_held(given: PlanInput, load: DeployedModelRow, target: DeployedModelRow | None) -> bool:
    """Whether a replica still runs the weights of `load`, which is being removed. False if `target` has them too."""
    adapters = given.source.adapters
    adapter = adapters.get(load.name)
    wanted = adapters.get(target.name) if target is not None else None
    if adapter is None or not adapter.folder or (wanted is not None and wanted.folder == adapter.folder):
        return False
    return any(r.folder == adapter.folder for r in given.seen.replicas if r.phase is not Phase.STARTING)
