"""Which deployment shapes are there? Two for every READY base: BF16, which takes addons, and FP8, which does not.

Shapes are computed from the rows of models in every call, and never stored.
"""

from __future__ import annotations

import hashlib

from firectl.errors import InputError, failed_precondition, invalid, not_found
from firectl.names import ID_MAX, ResourceName
from firectl.schemas.shape import DeploymentShape, DeploymentShapeVersion
from firectl.schemas.words import A100_80GB, BF16, FP8, ModelKind, ModelState, is_quantized
from firectl.server.access.auth import PUBLIC_ACCOUNT, Caller
from firectl.server.control.accounts import access
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.rows import ModelRow

ANY = "-"
LATEST = "latest"
DEFAULT = "default"
ACCELERATOR = A100_80GB
"""The accelerator that every shape names. It has no effect: replicas run on the hardware of this machine."""


_KINDS = (
    (BF16, "MINIMAL", "The weights as they are stored; takes addons."),
    (FP8, "FAST", "Nominal here: the weights as they are stored; takes no addons."),
)
"""Precision, preset and description of each shape."""


def list_shapes(platform: Platform, caller: Caller, account: str, target: str | None) -> list[DeploymentShape]:
    """Return the shapes of an account and of the public account; with a target model, those that can serve it."""
    with platform.store.read() as tx:
        rows = _bases(tx, account, PUBLIC_ACCOUNT) if target is None else [_target_base(tx, caller, target)]
        return [shape for row in rows for shape in _shapes(row)]


def get_shape(platform: Platform, name: str) -> DeploymentShape:
    """Return the shape of this full name."""
    with platform.store.read() as tx:
        return find(tx, name)[0]


def list_versions(platform: Platform, account: str, shape_id: str) -> list[DeploymentShapeVersion]:
    """Return the versions of a shape; for the ID `-`, of all shapes of the account and of the public account."""
    with platform.store.read() as tx:
        if shape_id == ANY:
            rows = _bases(tx, account, PUBLIC_ACCOUNT)
            return [_version(shape, row) for row in rows for shape in _shapes(row)]
        return [_version(*find(tx, f"{account}/deploymentShapes/{shape_id}"))]


def get_version(platform: Platform, shape: str, version: str) -> DeploymentShapeVersion:
    """Return a version of the shape with this full name. A shape has one version, which `latest` also means."""
    with platform.store.read() as tx:
        return _version_of(tx, shape, version)


def match(platform: Platform, caller: Caller, model: str, enable_addons: bool) -> list[DeploymentShapeVersion]:
    """Return the shape versions that a deployment of this model can use; `enable_addons`: only those with addons."""
    with platform.store.read() as tx:
        row = _target_base(tx, caller, model)
    return [_version(shape, row) for shape in _shapes(row) if shape.enable_addons or not enable_addons]


def find(tx: Tx, name: str) -> tuple[DeploymentShape, ModelRow]:
    """Return the shape of this full name (without a version), and the row of its base."""
    account = name.partition("/deploymentShapes/")[0]
    for row in _bases(tx, account):
        for shape in _shapes(row):
            if shape.name == name:
                return shape, row
    raise not_found(f"deployment shape {name}")


def version_for(tx: Tx, caller: Caller, asked: str, base: ModelRow) -> DeploymentShapeVersion:
    """Return the version for a `deployment_shape`: `default`, an ID, or the full name of a shape or of a version."""
    if asked == DEFAULT:
        return _version(_shapes(base)[0], base)
    text = asked if "/" in asked else f"{caller.account}/deploymentShapes/{asked}"
    try:
        name = ResourceName.parse(text)
    except InputError as error:
        raise invalid(f"deployment_shape: {error.message}", hint=error.hint) from error
    if name.collection != "deploymentShapes":
        raise invalid(f"deployment_shape: expected the name of a deployment shape, got {asked}")
    access.account(caller, name.account)
    shape = f"accounts/{name.account}/deploymentShapes/{name.id}"
    if "/" not in asked and "/models/" in base.name:
        # An ID may also mean a shape in the base's account: the shapes of public bases are in the public account.
        of_base = f"{base.account}/deploymentShapes/{asked}"
        shape = of_base if any(found.name == of_base for found in _shapes(base)) else shape
    return _version_of(tx, shape, name.version or LATEST)


def same_shape(stored: object, asked: object) -> bool:
    """Whether `asked` means the shape whose version is `stored`: as its full name, its ID or its `latest` version."""
    if not isinstance(stored, str) or not isinstance(asked, str):
        return False
    shape = stored.partition("/versions/")[0]
    return asked in (shape, shape.rsplit("/", 1)[1], f"{shape}/versions/{LATEST}")


def _bases(tx: Tx, *accounts: str) -> list[ModelRow]:
    rows = [row for account in dict.fromkeys(accounts) for row in tx.models.of_account(account)]
    return [row for row in rows if row.kind == ModelKind.BASE and row.state == ModelState.READY]


def _target_base(tx: Tx, caller: Caller, target: str) -> ModelRow:
    """Return the base that a model runs on: the model itself, or the base of an addon. It must be READY."""
    row = access.model(tx, caller, access.reference(target, "target_model", "models", caller))
    base = row if row.kind == ModelKind.BASE else tx.models.get(row.base or "")
    if base is None or base.state != ModelState.READY:
        raise failed_precondition(f"the base model {row.base or row.name} is not READY on this platform")
    return base


def _shapes(row: ModelRow) -> list[DeploymentShape]:
    details = row.resource.base_model_details
    model_id = row.name.rsplit("/", 1)[1]
    return [
        DeploymentShape(
            name=f"{row.account}/deploymentShapes/{_shape_id(model_id, precision)}",
            display_name=f"{model_id[:40]}, {precision}",
            description=description,
            base_model=row.name,
            model_type=details.model_type if details else None,
            parameter_count=details.parameter_count if details else None,
            accelerator_type=ACCELERATOR,
            accelerator_count=1,
            precision=precision,
            preset_type=preset,
            enable_addons=not is_quantized(precision),
            max_context_length=row.resource.context_length,
            create_time=row.create_time,
            update_time=row.update_time,
        )
        for precision, preset, description in _KINDS
    ]


def _shape_id(model_id: str, precision: str) -> str:
    """Return the ID of a shape: the model's ID and the precision. A long model ID is cut and gets a hash."""
    suffix = f"-{precision.lower()}"
    if len(model_id) + len(suffix) <= ID_MAX:
        return model_id + suffix
    digest = hashlib.sha256(model_id.encode()).hexdigest()[:8]
    return f"{model_id[: ID_MAX - len(suffix) - 9].rstrip('-')}-{digest}{suffix}"


def _version_of(tx: Tx, shape: str, version: str) -> DeploymentShapeVersion:
    found = _version(*find(tx, shape))
    if version != LATEST and found.name != f"{shape}/versions/{version}":
        raise not_found(f"deployment shape version {shape}/versions/{version}")
    return found


def _version(shape: DeploymentShape, row: ModelRow) -> DeploymentShapeVersion:
    # New content of the base gives a new version.
    version = hashlib.sha256((row.content_hash or "").encode()).hexdigest()[:8]
    return DeploymentShapeVersion(
        name=f"{shape.name}/versions/{version}",
        snapshot=shape,
        validated=True,
        latest_validated=True,
        public=row.account == PUBLIC_ACCOUNT,
        create_time=row.create_time,
    )
