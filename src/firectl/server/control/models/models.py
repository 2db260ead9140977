"""Models: what may be created, changed and deleted. Their files are `uploads`, their contents `validation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firectl.errors import ApiError, Code
from firectl.names import random_id, resolve
from firectl.schemas.base import Status
from firectl.schemas.model import DeployedModelRef, Model
from firectl.schemas.words import OUTPUT_ONLY, PRECISIONS, LoadState, ModelKind, ModelState
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.patch import Rules, apply
from firectl.server.disk.files import FileStore
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.rows import DeployedModelRow, ModelRow

MAX_DISPLAY_NAME = 63
MAX_DESCRIPTION = 999
MIN_RANK, MAX_RANK = 4, 64

_SERVED_KINDS = (ModelKind.BASE, ModelKind.ADDON)
_OUTPUT_ONLY = OUTPUT_ONLY["models"]
RULES = Rules(
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
    """A new model in state UPLOADING; its files come next. ALREADY_EXISTS when the name is taken."""
    name = f"{account}/models/{access.new_id(model_id, 'model')}"
    kind = _kind(model)
    base = None
    if model.peft_details is not None:
        own = caller.account.removeprefix("accounts/")
        base = resolve(model.peft_details.base_model or "", "models", own)
        model = model.model_copy(update={"peft_details": model.peft_details.model_copy(update={"base_model": base})})
        _check_rank(model.peft_details.r if model.peft_details else None)
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
        content_hash=None,
        create_time=now,
        update_time=now,
    )
    with platform.store.begin() as tx:
        if tx.models.get(name) is not None:
            raise ApiError(Code.ALREADY_EXISTS, f"model {name} already exists")
        tx.models.insert(row)
    return show(row)


def get(platform: Platform, caller: Caller, name: str) -> Model:
    """The model, with the places where it is deployed."""
    with platform.store.read() as tx:
        row = access.model(tx, caller, name)
        places = tx.deployed_models.of_model(name)
    return show(row).model_copy(update={"deployed_model_refs": [_ref(place) for place in places]})


def list_all(platform: Platform, account: str) -> list[Model]:
    """The models of an account."""
    with platform.store.read() as tx:
        return [show(row) for row in tx.models.of_account(account)]


def update(
    platform: Platform, caller: Caller, name: str, body: Model, sent: Mapping[str, Any], mask: str | None
) -> Model:
    """Change what may change; see `patch.apply`."""
    with platform.store.begin() as tx:
        row = access.model(tx, caller, name)
        changed = apply(show(row), body, sent, mask, RULES)
        _check_texts(changed)
        resource = changed.model_copy(update={**dict.fromkeys(_OUTPUT_ONLY), "status": row.resource.status})
        tx.models.update(name, resource=resource, update_time=platform.clock())
        return show(access.model(tx, caller, name))


def delete(platform: Platform, caller: Caller, name: str) -> None:
    """Remove the model and its files. FAILED_PRECONDITION, naming where, while it is loaded or deployed."""
    with platform.store.begin() as tx:
        row = access.model(tx, caller, name)
        _check_unused(tx, row)
        tx.models.delete(name)
    FileStore(platform.paths).remove(row.folder)


def prepare(platform: Platform, caller: Caller, name: str, precision: str | None) -> None:
    """Nothing to do here: weights are served as they are stored. The request is checked all the same."""
    if precision is not None and precision not in PRECISIONS:
        raise ApiError(Code.INVALID_ARGUMENT, f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    with platform.store.read() as tx:
        require_ready(access.model(tx, caller, name))


def verify(platform: Platform, caller: Caller, name: str) -> Model:
    """Read the model's files again; its state says what was found. FAILED_PRECONDITION while they are not all there."""
    with platform.store.read() as tx:
        row = access.model(tx, caller, name)
    if row.damage is None:
        require_ready(row)
    platform.supervisor.checks.verify(name)
    platform.supervisor.poke()
    return get(platform, caller, name)


def require_ready(row: ModelRow) -> None:
    """FAILED_PRECONDITION unless the model's files are there and were found good; DATA_LOSS if they are damaged."""
    if row.state != ModelState.READY:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"model {row.name} is {row.state}: its files are not all uploaded and validated yet",
            hint=f"firectl model upload {row.name.rsplit('/', 1)[1]} DIR",
        )
    if row.damage is not None:
        # Not 500: a client would take that for transient and ask again.
        raise ApiError(
            Code.DATA_LOSS, row.damage.message or "", hint=f"firectl model verify {row.name}", http_status=409
        )


def show(row: ModelRow) -> Model:
    """The wire resource of a row."""
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
    """What is wrong with an addon's base, and how to import it."""
    account, _, model = (row.base or "").removeprefix("accounts/").partition("/models/")
    message, hint = f"the base model {row.base} of {row.name} {what}", f"firectl -a {account} model create {model} DIR"
    return ApiError(Code.FAILED_PRECONDITION, message, hint=hint)


def _ref(row: DeployedModelRow) -> DeployedModelRef:
    return DeployedModelRef(
        name=row.name,
        deployment=row.deployment,
        default=row.default,
        state=row.state,
        public=bool(row.resource.public),
    )


def _kind(model: Model) -> str:
    if model.peft_details is not None and model.base_model_details is not None:
        raise ApiError(
            Code.INVALID_ARGUMENT,
            "peft_details and base_model_details exclude each other: a model is an addon or a base",
        )
    implied = (
        ModelKind.ADDON
        if model.peft_details is not None
        else ModelKind.BASE
        if model.base_model_details is not None
        else None
    )
    asked = None if model.kind == "KIND_UNSPECIFIED" else model.kind
    if implied is not None and asked is not None and asked != implied:
        raise ApiError(Code.INVALID_ARGUMENT, f"kind {asked} does not go with the details given, which mean {implied}")
    kind = implied or asked or ModelKind.ADDON
    if kind not in _SERVED_KINDS:
        raise ApiError(
            Code.UNIMPLEMENTED, f"models of kind {kind} are not served here, only {' and '.join(_SERVED_KINDS)}"
        )
    if kind == ModelKind.ADDON and (model.peft_details is None or not model.peft_details.base_model):
        raise ApiError(
            Code.INVALID_ARGUMENT,
            f"peft_details.base_model is missing: a model of kind {ModelKind.ADDON} "
            "names the base that it was trained on",
        )
    return kind


def _check_rank(rank: int | None) -> None:
    if rank is not None and not MIN_RANK <= rank <= MAX_RANK:
        raise ApiError(Code.INVALID_ARGUMENT, f"peft_details.r must be {MIN_RANK} to {MAX_RANK}, it is {rank}")


def _check_texts(model: Model) -> None:
    check_display_name(model.display_name)
    if len(model.description or "") > MAX_DESCRIPTION:
        raise ApiError(Code.INVALID_ARGUMENT, "description must be fewer than 1000 characters long")
    for field in ("context_length", "training_context_length", "default_draft_token_count"):
        value = getattr(model, field)
        if value is not None and value < 0:
            raise ApiError(Code.INVALID_ARGUMENT, f"{field} must not be negative, it is {value}")


def check_display_name(text: str | None) -> None:
    """INVALID_ARGUMENT for a display name of 64 characters or more."""
    if len(text or "") > MAX_DISPLAY_NAME:
        raise ApiError(Code.INVALID_ARGUMENT, "display_name must be fewer than 64 characters long")


def _check_unused(tx: Tx, row: ModelRow) -> None:
    for place in tx.deployed_models.of_model(row.name):
        leaving = " and is being unloaded" if place.state == LoadState.UNDEPLOYING else ""
        own = tx.deployments.get(place.deployment)
        if own is not None and own.model == row.name:
            continue
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"model {row.name} is loaded on {place.deployment}{leaving}",
            hint=f"firectl unload-lora {_id(row.name)} --deployment {_id(place.deployment)} --wait",
        )
    for deployment in tx.deployments.of_model(row.name):
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"model {row.name} is in use by {deployment.name}, which is {deployment.state}",
            hint=f"firectl deployment delete {_id(deployment.name)} --wait",
        )


def _id(name: str) -> str:
    return name.rsplit("/", 1)[1]
