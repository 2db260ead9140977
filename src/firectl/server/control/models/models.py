"""Which models may be created, changed and deleted? `uploads` handles their files, `validation` checks them."""

from __future__ import annotations

from firectl.errors import ApiError, Code, failed_precondition, invalid
from firectl.lora.read.bin_file import NotInspected
from firectl.names import random_id, resolve
from firectl.schemas.base import Status
from firectl.schemas.model import DeployedModelRef, Model
from firectl.schemas.words import OUTPUT_ONLY, PRECISIONS, LoadState, ModelKind, ModelState
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.patch import Patch, PatchRules, apply
from firectl.server.disk.files import FileStore
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.rows import DeployedModelRow, ModelRow

MAX_DISPLAY_NAME = 63
MAX_DESCRIPTION = 999
MIN_RANK, MAX_RANK = 4, 64

_SERVED_KINDS = (ModelKind.BASE, ModelKind.ADDON)
_OUTPUT_ONLY = OUTPUT_ONLY["models"]
PATCH_RULES = PatchRules(
    mutable=frozenset(
        {
            "display_name", "description", "public", "conversation_config", "context_length", "supports_tools",
            "supports_image_input", "github_url", "hugging_face_url", "default_draft_model",
            "default_draft_token_count", "default_sampling_params", "training_context_length",
            "use_hf_apply_chat_template",
        }
    ),
    output_only=_OUTPUT_ONLY - {"name"},
)  # fmt: skip


def create(platform: Platform, caller: Caller, account: str, model_id: str, model: Model) -> Model:
    """Create a model in state UPLOADING, without files. ALREADY_EXISTS when the name is taken."""
    name = f"{account}/models/{access.new_id(model_id, 'model')}"
    kind = _kind(model)
    base = None
    if model.peft_details is not None:
        own = caller.account.removeprefix("accounts/")
        base = resolve(model.peft_details.base_model or "", "models", own)
        _check_rank(model.peft_details.r)
        model = model.model_copy(update={"peft_details": model.peft_details.model_copy(update={"base_model": base})})
    _check_texts(model)
    now = platform.clock()
    row = ModelRow(
        name=name,
        account=account,
        resource=model.model_copy(update={**dict.fromkeys(_OUTPUT_ONLY), "kind": kind}),
        state=ModelState.UPLOADING,
        kind=kind,
        base=base,
        folder=f"models/{account.removeprefix('accounts/')}/{model_id}.{random_id()}",
        create_time=now,
        update_time=now,
    )
    with platform.store.begin() as tx:
        if tx.models.get(name) is not None:
            raise ApiError(Code.ALREADY_EXISTS, f"model {name} already exists")
        tx.models.insert(row)
    return show(row)


def get(platform: Platform, caller: Caller, name: str) -> Model:
    """Return the model, with references to its deployed models."""
    with platform.store.read() as tx:
        row = access.model(tx, caller, name)
        loads = tx.deployed_models.of_model(name)
    return show(row).model_copy(update={"deployed_model_refs": [_ref(load) for load in loads]})


def list_all(platform: Platform, account: str) -> list[Model]:
    """Return the models of an account."""
    with platform.store.read() as tx:
        return [show(row) for row in tx.models.of_account(account)]


def update(platform: Platform, caller: Caller, name: str, patch: Patch[Model]) -> Model:
    """Change the fields that may change; see `patch.apply`."""
    with platform.store.begin() as tx:
        row = access.model(tx, caller, name)
        changed = apply(show(row), patch, PATCH_RULES)
        _check_texts(changed)
        resource = changed.model_copy(update={**dict.fromkeys(_OUTPUT_ONLY), "status": row.resource.status})
        tx.models.update(name, resource=resource, update_time=platform.clock())
        return show(access.model(tx, caller, name))


def delete(platform: Platform, caller: Caller, name: str) -> None:
    """Remove the model and its files. While it is loaded or deployed, FAILED_PRECONDITION names the deployment."""
    with platform.store.begin() as tx:
        row = access.model(tx, caller, name)
        _check_unused(tx, row)
        tx.models.delete(name)
    FileStore(platform.paths).remove(row.folder)


def prepare(platform: Platform, caller: Caller, name: str, precision: str | None) -> None:
    """Check the request. No weights need to be prepared: they are served as they are stored."""
    if precision is not None and precision not in PRECISIONS:
        raise invalid(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    with platform.store.read() as tx:
        require_ready(access.model(tx, caller, name))


def verify(platform: Platform, caller: Caller, name: str) -> Model:
    """Check the model's files again; the state of the returned model is the result.

    FAILED_PRECONDITION if the model has never been READY.
    """
    with platform.store.read() as tx:
        row = access.model(tx, caller, name)
    if row.damage is None:
        require_ready(row)
    try:
        platform.supervisor.checks.verify(name)
    except NotInspected as error:
        raise ApiError(error.code, error.message, hint=error.hint) from error
    platform.supervisor.poke()
    return get(platform, caller, name)


def require_ready(row: ModelRow) -> None:
    """Raise FAILED_PRECONDITION unless the model's files are uploaded and validated; DATA_LOSS if they are damaged."""
    if row.state != ModelState.READY:
        raise failed_precondition(
            f"model {row.name} is {row.state}: its files are not all uploaded and validated yet",
            hint=f"firectl model upload {row.name.rsplit('/', 1)[1]} DIR",
        )
    if row.damage is not None:
        # The status is 409, not 500: clients retry after a 500, because it may be temporary.
        raise ApiError(
            Code.DATA_LOSS, row.damage.message or "", hint=f"firectl model verify {row.name}", http_status=409
        )


def show(row: ModelRow) -> Model:
    """Return the model of a row in the form that the API returns."""
    return row.resource.model_copy(
        update={
            "name": row.name,
            "kind": row.kind,
            "state": row.state if row.damage is None else ModelState.FAILED,
            "status": row.damage or row.resource.status or Status.of(None, ""),
            "create_time": row.create_time,
            "update_time": row.update_time,
        }
    )


def no_base(row: ModelRow, what: str) -> ApiError:
    """Return the error for an addon whose base cannot be used, with the command that imports the base."""
    account, _, model = (row.base or "").removeprefix("accounts/").partition("/models/")
    message, hint = f"the base model {row.base} of {row.name} {what}", f"firectl -a {account} model create {model} DIR"
    return failed_precondition(message, hint=hint)


def _ref(row: DeployedModelRow) -> DeployedModelRef:
    return DeployedModelRef(
        name=row.name,
        deployment=row.deployment,
        default=row.default,
        state=row.state,
        public=bool(row.resource.public),
    )


def _kind(model: Model) -> str:
    """Return the kind that the body names or implies. UNIMPLEMENTED for a kind that is not served here."""
    if model.peft_details is not None and model.base_model_details is not None:
        raise invalid("peft_details and base_model_details exclude each other: a model is an addon or a base")
    base = ModelKind.BASE if model.base_model_details is not None else None
    implied = ModelKind.ADDON if model.peft_details is not None else base
    asked = None if model.kind == "KIND_UNSPECIFIED" else model.kind
    if implied and asked and asked != implied:
        raise invalid(f"kind {asked} contradicts the details given, which mean {implied}")
    kind = implied or asked or ModelKind.ADDON
    if kind not in _SERVED_KINDS:
        raise ApiError(
            Code.UNIMPLEMENTED, f"models of kind {kind} are not served here, only {' and '.join(_SERVED_KINDS)}"
        )
    if kind == ModelKind.ADDON and (model.peft_details is None or not model.peft_details.base_model):
        raise invalid(
            f"peft_details.base_model is missing: a model of kind {ModelKind.ADDON} "
            "names the base that it was trained on"
        )
    return kind


def _check_rank(rank: int | None) -> None:
    if rank is not None and not MIN_RANK <= rank <= MAX_RANK:
        raise invalid(f"peft_details.r must be {MIN_RANK} to {MAX_RANK}, it is {rank}")


def _check_texts(model: Model) -> None:
    check_display_name(model.display_name)
    if len(model.description or "") > MAX_DESCRIPTION:
        raise invalid("description must be fewer than 1000 characters long")
    for field in ("context_length", "training_context_length", "default_draft_token_count"):
        value = getattr(model, field)
        if value is not None and value < 0:
            raise invalid(f"{field} must not be negative, it is {value}")


def check_display_name(text: str | None) -> None:
    """Raise INVALID_ARGUMENT for a display name of 64 characters or more."""
    if len(text or "") > MAX_DISPLAY_NAME:
        raise invalid("display_name must be fewer than 64 characters long")


def _check_unused(tx: Tx, row: ModelRow) -> None:
    for load in tx.deployed_models.of_model(row.name):
        unloading = " and is being unloaded" if load.state == LoadState.UNDEPLOYING else ""
        deployment = tx.deployments.get(load.deployment)
        if deployment is not None and deployment.model == row.name:
            continue
        raise failed_precondition(
            f"model {row.name} is loaded on {load.deployment}{unloading}",
            hint=f"firectl unload-lora {_id(row.name)} --deployment {_id(load.deployment)} --wait",
        )
    for deployment in tx.deployments.of_model(row.name):
        raise failed_precondition(
            f"model {row.name} is in use by {deployment.name}, which is {deployment.state}",
            hint=f"firectl deployment delete {_id(deployment.name)} --wait",
        )


def _id(name: str) -> str:
    return name.rsplit("/", 1)[1]
