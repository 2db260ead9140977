"""Which models are loaded on which deployment: its own model, and its addons?

Changes rows only: reconcile loads the models into engines and unloads them.
"""

from __future__ import annotations

from firectl.errors import ApiError, Code, InputError, failed_precondition, invalid
from firectl.lora.check.rules import merge_only
from firectl.lora.read.adapter import Adapter
from firectl.names import ID_MAX, canonical_route, random_id
from firectl.schemas.base import Status
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.words import OUTPUT_ONLY, DeploymentState, LoadState, ModelKind
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.models import models
from firectl.server.control.patch import Patch, PatchRules, apply
from firectl.server.disk.files import FileStore
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.defaults import give_up_default, make_default
from firectl.server.store.rows import DeployedModelRow, DeploymentRow, ModelRow

_OUTPUT_ONLY = OUTPUT_ONLY["deployedModels"]
_COLUMNS = ("model", "deployment", "default")
PATCH_RULES = PatchRules(
    mutable=frozenset({"display_name", "description", "public", "default"}),
    output_only=_OUTPUT_ONLY - {"name"},
)


def add_own(platform: Platform, tx: Tx, deployment: DeploymentRow) -> None:
    """Insert the row of a deployment's own model if it is missing, so that requests for the model go to it."""
    if not tx.deployed_models.of_pair(deployment.model, deployment.name):
        _insert(platform, tx, deployment.account, DeployedModel(), deployment.model, deployment, None)


def load(platform: Platform, caller: Caller, account: str, body: DeployedModel, replace: bool) -> DeployedModel:
    """Load an addon onto a deployment. If it is already loaded, or being loaded, keep and return its row."""
    asked_model = access.reference(body.model, "model", "models", caller)
    asked_deployment = access.reference(body.deployment, "deployment", "deployments", caller)
    if body.serverless:
        raise invalid("serverless: a LoRA is served by a deployment of its own or of its base")
    with platform.store.begin() as tx:
        deployment = access.deployment(tx, caller, asked_deployment)
        if deployment.state in (DeploymentState.DELETING, DeploymentState.DELETED, DeploymentState.FAILED):
            raise failed_precondition(f"deployment {deployment.name} is {deployment.state}")
        model = access.model(tx, caller, asked_model)
        models.require_ready(model)
        if model.name == deployment.model and deployment.auto_deploy:
            raise _there_anyway(model, deployment)
        if replace and not deployment.is_hot_reload:
            raise _replaces_nothing(model, deployment)
        known = [r for r in tx.deployed_models.of_pair(model.name, deployment.name) if r.state != LoadState.UNDEPLOYING]
        if known:
            row = known[-1]
            if deployment.is_hot_reload and model.name != deployment.model:
                _make_latest(platform, tx, row)
            if body.default and not row.default:
                make_default(tx, row, platform.clock())
        else:
            if model.name != deployment.model:
                _check_load(platform, tx, model, deployment, replace)
            row = _insert(platform, tx, account, body, model.name, deployment, model.content_hash)
        row = access.deployed_model(tx, caller, row.name)
    platform.wakeup.poke()
    return show(row)


def get(platform: Platform, caller: Caller, name: str) -> DeployedModel:
    """Return the deployed model of this full name."""
    with platform.store.read() as tx:
        return show(access.deployed_model(tx, caller, name))


def list_all(platform: Platform, account: str) -> list[DeployedModel]:
    """Return the deployed models of an account."""
    with platform.store.read() as tx:
        return [show(row) for row in tx.deployed_models.of_account(account)]


def update(platform: Platform, caller: Caller, name: str, patch: Patch[DeployedModel]) -> DeployedModel:
    """Change a deployed model's texts, or make it the default of its model. To unset a default, set another one."""
    with platform.store.begin() as tx:
        row = access.deployed_model(tx, caller, name)
        changed = apply(show(row), patch, PATCH_RULES)
        now = platform.clock()
        if changed.default and not row.default:
            if row.state == LoadState.UNDEPLOYING:
                raise failed_precondition(f"deployed model {name} is being unloaded")
            make_default(tx, row, now)
        elif row.default and not changed.default:
            raise failed_precondition(
                f"deployed model {name} is the default of {row.model}: make another one the default instead"
            )
        resource = changed.model_copy(update=dict.fromkeys((*_OUTPUT_ONLY, *_COLUMNS)))
        tx.deployed_models.update(name, resource=resource, update_time=now)
        return show(access.deployed_model(tx, caller, name))


def unload(platform: Platform, caller: Caller, name: str) -> None:
    """Unload an addon. FAILED_PRECONDITION for a deployment's own model. Idempotent."""
    with platform.store.begin() as tx:
        row = access.deployed_model(tx, caller, name)
        deployment = tx.deployments.get(row.deployment)
        if deployment is not None and deployment.model == row.model and deployment.state != DeploymentState.DELETED:
            raise failed_precondition(
                f"{row.model} is what {row.deployment} was created for; it cannot be unloaded from it",
                hint=f"firectl deployment delete {row.deployment.rsplit('/', 1)[1]}",
            )
        if row.state != LoadState.UNDEPLOYING:
            _unload(platform, tx, row, "unloading")
    platform.wakeup.poke()


def show(row: DeployedModelRow) -> DeployedModel:
    """Return the deployed model of a row in the form that the API returns."""
    return row.resource.model_copy(
        update={
            "name": row.name,
            "model": row.model,
            "deployment": row.deployment,
            "default": row.default,
            "state": row.state,
            "status": row.status,
            "serverless": False,
            "public": bool(row.resource.public),
            "create_time": row.create_time,
            "update_time": row.update_time,
        }
    )


def _make_latest(platform: Platform, tx: Tx, row: DeployedModelRow) -> None:
    """Make `row` the latest addon of its deployment again: unload later addons that are still being loaded."""
    for other in tx.deployed_models.of_deployment(row.deployment):
        if (other.create_time, other.name) > (row.create_time, row.name) and other.state == LoadState.DEPLOYING:
            _unload(platform, tx, other, f"replaced by {row.model}")


def _unload(platform: Platform, tx: Tx, row: DeployedModelRow, why: str) -> None:
    now = platform.clock()
    give_up_default(tx, row, now)
    status = Status.of(None, why)
    tx.deployed_models.update(row.name, state=LoadState.UNDEPLOYING, status=status, update_time=now)


def _check_load(platform: Platform, tx: Tx, model: ModelRow, deployment: DeploymentRow, replace: bool) -> None:
    """Raise an error, usually with a command that helps, unless this addon can be loaded on this deployment."""
    target = deployment.name.rsplit("/", 1)[1]
    if model.kind != ModelKind.ADDON:
        raise _base_not_adapter(model)
    if deployment.is_live_merge:
        raise failed_precondition(
            f"deployment {deployment.name} serves {deployment.model} alone, merged; nothing can be loaded onto it",
            hint=f"firectl deployment create {deployment.base} --enable-addons",
        )
    if model.base != deployment.base:
        raise failed_precondition(f"{model.name} was trained on {model.base}, {target} serves {deployment.base}")
    if deployment.is_hot_reload:
        if replace:
            return
        raise failed_precondition(
            f"deployment {deployment.name} keeps one addon merged: loading needs replace_merged_addon",
            hint=f"firectl load-lora {model.name} --deployment {target} --replace-merged-addon",
        )
    if not deployment.resource.enable_addons:
        raise failed_precondition(
            f"deployment {deployment.name} was created without addons",
            hint=f"firectl deployment create {deployment.base} --enable-addons",
        )
    _check_beside_others(platform, model)
    loaded = [row for row in tx.deployed_models.of_deployment(deployment.name) if row.model != deployment.model]
    if len(loaded) >= platform.settings.max_addons:
        raise ApiError(
            Code.RESOURCE_EXHAUSTED,
            f"deployment {deployment.name} holds {len(loaded)} addons; the limit is {platform.settings.max_addons}",
            hint=f"firectl unload-lora MODEL --deployment {target}",
        )


def _replaces_nothing(model: ModelRow, deployment: DeploymentRow) -> ApiError:
    target = deployment.name.rsplit("/", 1)[1]
    return failed_precondition(
        f"replace_merged_addon is for deployments created with enable_hot_reload_latest_addon; {target} was not",
        hint=f"leave it out: firectl load-lora {model.name} --deployment {target}"
        if deployment.resource.enable_addons
        else f"firectl deployment create {deployment.base} --enable-hot-reload-latest-addon",
    )


def _there_anyway(model: ModelRow, deployment: DeploymentRow) -> ApiError:
    """Return the error for loading a deployment's own model onto it."""
    if model.kind != ModelKind.ADDON:
        return _base_not_adapter(model)
    return failed_precondition(
        f"{model.name} is merged into {deployment.name}, which serves it alone: there is nothing to load",
        hint=f"firectl chat {canonical_route(model.name, deployment.name)}",
    )


def _base_not_adapter(model: ModelRow) -> ApiError:
    return failed_precondition(
        f"{model.name} is a base model, not an adapter: only adapters are loaded onto a deployment",
        hint="firectl model list --filter 'kind = HF_PEFT_ADDON'",
    )


def _check_beside_others(platform: Platform, model: ModelRow) -> None:
    """Raise FAILED_PRECONDITION for an adapter that can only be merged: an engine would refuse to load it later."""
    try:
        findings = merge_only(Adapter.open(FileStore(platform.paths).path(model.folder)))
    except InputError as error:
        raise failed_precondition(f"{model.name}: {error.message}", hint=error.hint) from error
    if findings:
        first = findings[0]
        raise failed_precondition(
            f"{model.name} cannot be loaded beside others: {first.where}: {first.what}",
            hint=f"live merge applies it: firectl deployment create {model.name}",
        )


def _insert(
    platform: Platform,
    tx: Tx,
    account: str,
    body: DeployedModel,
    model: str,
    deployment: DeploymentRow,
    model_hash: str | None,
) -> DeployedModelRow:
    now = platform.clock()
    short = model.rsplit("/", 1)[1]
    row = DeployedModelRow(
        name=f"{account}/deployedModels/{short[: ID_MAX - 9].rstrip('-')}-{random_id()}",
        account=account,
        resource=body.model_copy(update=dict.fromkeys((*_OUTPUT_ONLY, *_COLUMNS, "serverless"))),
        model=model,
        deployment=deployment.name,
        state=LoadState.DEPLOYING,
        status=Status.of(None, "waiting for the deployment"),
        default=False,
        model_hash=model_hash,
        create_time=now,
        update_time=now,
    )
    tx.deployed_models.insert(row)
    if body.default or tx.deployed_models.default_of(model) is None:
        make_default(tx, row, now)
    return row
