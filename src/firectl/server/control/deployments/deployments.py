"""Which deployments may be created, changed, scaled, deleted and undeleted? Only rows change here.

Every change commits its row, then tells reconcile to look at the rows, then answers. Reconcile runs the replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic.alias_generators import to_camel

from firectl.errors import ApiError, Code, failed_precondition, invalid
from firectl.names import random_id
from firectl.schemas.base import Status
from firectl.schemas.deployment import Deployment
from firectl.schemas.words import OUTPUT_ONLY, DeploymentState, ModelKind
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.deployments import deletion, loading, rules, shapes
from firectl.server.control.models import models
from firectl.server.control.patch import Patch, apply
from firectl.server.lifecycle import hot_reload
from firectl.server.lifecycle.plan import without_leaving
from firectl.server.platform import Platform
from firectl.server.store import Tx, capacity
from firectl.server.store.rows import DeployedModelRow, DeploymentRow, ModelRow

_MERGE_FIELDS = ("tensors_changed", "tensors_total", "delta_norm", "adapter_hash", "base_hash")


@dataclass(frozen=True)
class CreateOptions:
    """The arguments of a create, besides the deployment itself."""

    deployment_id: str | None = None
    validate_only: bool = False
    disable_auto_deploy: bool = False
    disable_speculative_decoding: bool = False
    skip_shape_validation: bool = False


def create(platform: Platform, caller: Caller, account: str, body: Deployment, options: CreateOptions) -> Deployment:
    """Create a deployment of a base, or of a LoRA (live merge). With `validate_only`, check it but store nothing."""
    deployment_id = random_id() if options.deployment_id is None else options.deployment_id
    name = f"{account}/deployments/{access.new_id(deployment_id, 'deployment')}"
    asked = access.reference(body.base_model, "base_model", "models", caller)
    with platform.store.read() if options.validate_only else platform.store.begin() as tx:
        row = _prepare(platform, tx, caller, account, name, asked, body, options)
        if options.validate_only:
            return show(platform, row)
        tx.deployments.insert(row)
        if row.auto_deploy:
            loading.add_own(platform, tx, row)
    platform.wakeup.poke()
    return show(platform, row)


def get(platform: Platform, caller: Caller, name: str) -> Deployment:
    """Return the deployment as it is now, a DELETED one included."""
    with platform.store.read() as tx:
        row = access.deployment(tx, caller, name)
        loads = tx.deployed_models.of_deployment(name)
    return show(platform, row, loads)


def list_all(platform: Platform, account: str, show_deleted: bool) -> list[Deployment]:
    """Return the deployments of an account; DELETED ones only with `show_deleted`."""
    with platform.store.read() as tx:
        rows = tx.deployments.of_account(account)
        shown = [row for row in rows if show_deleted or row.state != DeploymentState.DELETED]
        loads = {row.name: tx.deployed_models.of_deployment(row.name) for row in shown if row.is_hot_reload}
    return [show(platform, row, loads.get(row.name, ())) for row in shown]


def merge_record(platform: Platform, caller: Caller, name: str) -> dict[str, object]:
    """Return what a live merge or hot reload merged, and how much the weights changed. NOT_FOUND without a merge."""
    with platform.store.read() as tx:
        row = access.deployment(tx, caller, name)
        answering = hot_reload.merged(row, tx.deployed_models.of_deployment(name)) if row.is_hot_reload else None
    if row.merge_record is None:
        why = "it is not merged yet" if row.is_live_merge else "it serves a base model as it is"
        raise ApiError(Code.NOT_FOUND, f"deployment {name} has no merge record: {why}")
    found = {to_camel(field): row.merge_record.get(field) for field in _MERGE_FIELDS}
    found["model"] = answering.model if answering is not None else row.model
    return {field: value for field, value in found.items() if value is not None}


def update(platform: Platform, caller: Caller, name: str, patch: Patch[Deployment]) -> Deployment:
    """Change fields as `patch.apply` allows. Move the number of replicas to within new bounds."""
    with platform.store.begin() as tx:
        row = _living(tx, caller, name)
        before = show(platform, row)
        resource = rules.complete(apply(before, patch, rules.PATCH_RULES))
        model = tx.models.get(row.model)
        if model is not None:
            rules.check(resource, model)
        _set(platform, tx, row, resource, _within(resource, row))
        row = access.deployment(tx, caller, name)
        loads = tx.deployed_models.of_deployment(name)
    platform.wakeup.poke()
    return show(platform, row, loads)


def scale(platform: Platform, caller: Caller, name: str, replica_count: int) -> None:
    """Set the number of replicas, and widen the bounds to include it. After 0, the next request starts a replica."""
    if replica_count < 0:
        raise invalid(f"replica_count must not be negative, it is {replica_count}")
    with platform.store.begin() as tx:
        row = _living(tx, caller, name)
        low, high = row.resource.min_replica_count or 0, row.resource.max_replica_count or 0
        bounds = {"min_replica_count": min(low, replica_count), "max_replica_count": max(high, replica_count)}
        _set(platform, tx, row, row.resource.model_copy(update=bounds), replica_count)
    platform.wakeup.poke()


def delete(platform: Platform, caller: Caller, name: str, *, hard: bool = False, ignore_checks: bool = False) -> None:
    """Stop and delete a deployment: soft (it can be undeleted for 7 days) or hard. Idempotent."""
    with platform.store.begin() as tx:
        row = access.deployment(tx, caller, name)
        deletion.delete(tx, row, platform.clock(), hard=hard, ignore_checks=ignore_checks)
    platform.wakeup.poke()


def undelete(platform: Platform, caller: Caller, name: str) -> Deployment:
    """Undo a soft delete: start the deployment like a new one, and restore its loads.

    The status of the answer names the loads that cannot be restored.
    """
    with platform.store.begin() as tx:
        row = access.deployment(tx, caller, name)
        if row.state != DeploymentState.DELETED:
            doing = "is still being deleted; try again" if row.state == DeploymentState.DELETING else f"is {row.state}"
            raise failed_precondition(f"deployment {name} {doing}: only a DELETED one can be undeleted")
        model = access.model(tx, caller, row.model)
        models.require_ready(model)
        _base_of(tx, model)
        desired = rules.first_replicas(row.resource)
        capacity.reserve(tx, name, desired, platform.settings.max_replicas)
        now = platform.clock()
        lost = deletion.restore_loads(tx, row, now)
        tx.deployments.update(
            name,
            state=DeploymentState.CREATING,
            status=Status.of(None, "undeleted" + (f"; not loaded again: {'; '.join(lost)}" if lost else "")),
            desired_replicas=desired,
            served_folder=None,
            merge_record=None,
            last_request_time=None,
            woken_time=now,
            delete_time=None,
            purge_time=None,
            update_time=now,
            taken_along=None,
        )
        row = access.deployment(tx, caller, name)
        if row.auto_deploy:
            loading.add_own(platform, tx, row)
    platform.wakeup.poke()
    return show(platform, row)


def show(platform: Platform, row: DeploymentRow, loads: Sequence[DeployedModelRow] = ()) -> Deployment:
    """Return the deployment of a row in the form that the API returns, with the current replica counts.

    For hot reload also say which of its `loads` answers requests now, and which one will answer next.
    """
    merged: dict[str, str] = {}
    if row.is_hot_reload:
        active, target = hot_reload.merged(row, loads), hot_reload.latest(row, loads)
        merged["active_model_version"] = active.model if active is not None else row.model
        merged["target_model_version"] = target.model if target is not None else row.model
    count = platform.supervisor.replica_count(row.name)
    return row.resource.model_copy(
        update={
            "name": row.name,
            "base_model": row.model,
            "state": row.state,
            # Without replicas, remove the note about ending replicas: the row is updated a moment after they ended.
            "status": row.status if count else without_leaving(row.status),
            "create_time": row.create_time,
            "update_time": row.update_time,
            "delete_time": row.delete_time,
            "purge_time": row.purge_time,
            "desired_replica_count": row.desired_replicas,
            "replica_count": count,
            "replica_stats": platform.supervisor.replica_stats(row.name, row.desired_replicas),
            **merged,
        }
    )


def _prepare(
    platform: Platform,
    tx: Tx,
    caller: Caller,
    account: str,
    name: str,
    asked: str,
    body: Deployment,
    options: CreateOptions,
) -> DeploymentRow:
    """Make all checks of a create and return the row to insert."""
    taken = tx.deployments.get(name)
    if taken is not None:
        raise _already_exists(taken)
    model = access.model(tx, caller, asked)
    models.require_ready(model)
    base = _base_of(tx, model)
    cleaned = body.model_copy(update={**dict.fromkeys(OUTPUT_ONLY["deployments"]), "base_model": model.name})
    shaped = _with_shape(tx, caller, cleaned, base, options.skip_shape_validation)
    resource = rules.complete(_with_draft(shaped, base, options.disable_speculative_decoding))
    rules.check(resource, model)
    rules.check_hardware(resource)
    desired = rules.first_replicas(resource)
    capacity.reserve(tx, name, desired, platform.settings.max_replicas)
    now = platform.clock()
    return DeploymentRow(
        name=name,
        account=account,
        resource=resource,
        state=DeploymentState.CREATING,
        status=Status.of(None, "created"),
        model=model.name,
        base=base.name,
        desired_replicas=desired,
        create_time=now,
        update_time=now,
        woken_time=now,
        auto_deploy=not options.disable_auto_deploy,
    )


def _already_exists(row: DeploymentRow) -> ApiError:
    short = row.name.rsplit("/", 1)[1]
    hint = None
    if row.state in (DeploymentState.DELETED, DeploymentState.DELETING):
        hint = f"firectl deployment undelete {short}, or firectl deployment delete {short} --hard and create again"
    return ApiError(Code.ALREADY_EXISTS, f"deployment {row.name} already exists and is {row.state}", hint=hint)


def _base_of(tx: Tx, model: ModelRow) -> ModelRow:
    """Return the READY base that a model runs on: the model itself, or the base of an addon."""
    if model.kind == ModelKind.BASE:
        return model
    base = tx.models.get(model.base or "")
    if base is None:
        raise models.no_base(model, "is not on this platform")
    models.require_ready(base)
    return base


def _with_shape(tx: Tx, caller: Caller, asked: Deployment, base: ModelRow, skip_validation: bool) -> Deployment:
    """Return the deployment with the fields of its shape; `deployment_shape` becomes the name of the version used."""
    if not asked.deployment_shape:
        return asked
    if asked.accelerator_type:
        raise invalid("deployment_shape and accelerator_type exclude each other")
    version = shapes.version_for(tx, caller, asked.deployment_shape, base)
    shape = version.snapshot
    assert shape is not None
    if shape.base_model != base.name and not skip_validation:
        raise invalid(
            f"deployment_shape {asked.deployment_shape} is for {shape.base_model}, not validated for {base.name}",
            hint=f"firectl deployment-shape-version match --model {base.name}",
        )
    if asked.precision and asked.precision != shape.precision:
        raise invalid(f"precision {asked.precision} is not that of the deployment_shape, {shape.precision}")
    return asked.model_copy(
        update={
            "deployment_shape": version.name,
            "accelerator_type": shape.accelerator_type,
            "accelerator_count": asked.accelerator_count or shape.accelerator_count,
            "precision": shape.precision,
        }
    )


def _with_draft(asked: Deployment, base: ModelRow, disabled: bool) -> Deployment:
    """Return the deployment with the base's default draft model, or, if `disabled`, without one.

    A draft model is stored and shown, but never used on this platform.
    """
    if disabled:
        return asked.model_copy(
            update={"draft_model": None, "draft_token_count": None, "ngram_speculation_length": None}
        )
    if asked.draft_model or not base.resource.default_draft_model:
        return asked
    tokens = asked.draft_token_count or base.resource.default_draft_token_count
    return asked.model_copy(update={"draft_model": base.resource.default_draft_model, "draft_token_count": tokens})


def _living(tx: Tx, caller: Caller, name: str) -> DeploymentRow:
    row = access.deployment(tx, caller, name)
    if row.state in (DeploymentState.DELETING, DeploymentState.DELETED):
        raise failed_precondition(
            f"deployment {name} is {row.state}", hint=f"firectl deployment undelete {name.rsplit('/', 1)[1]}"
        )
    return row


def _within(resource: Deployment, row: DeploymentRow) -> int:
    """Return how many replicas to run under new bounds.

    A deployment that was parked (maximum 0) and now has a higher maximum starts like a new one.
    """
    low, high = resource.min_replica_count or 0, resource.max_replica_count or 0
    if row.resource.max_replica_count == 0 and high > 0:
        return rules.first_replicas(resource)
    return min(max(row.desired_replicas, low), high)


def _set(platform: Platform, tx: Tx, row: DeploymentRow, resource: Deployment, desired: int) -> None:
    if desired != row.desired_replicas and row.state == DeploymentState.FAILED:
        raise failed_precondition(
            f"deployment {row.name} is FAILED and runs no replicas: {row.status.message}",
            hint="delete it and create it again once the reason is gone",
        )
    if desired > row.desired_replicas:
        capacity.reserve(tx, row.name, desired, platform.settings.max_replicas)
    stored = resource.model_copy(update=dict.fromkeys(OUTPUT_ONLY["deployments"]))
    now = platform.clock()
    columns: dict[str, object] = {"resource": stored, "desired_replicas": desired, "update_time": now}
    if desired > row.desired_replicas:
        columns["woken_time"] = now
    tx.deployments.update(row.name, **columns)
