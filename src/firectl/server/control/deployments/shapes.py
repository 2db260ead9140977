"""Deployment shapes: two for every base that is READY, BF16 which takes addons and FP8 which does not.

Derived from the models' rows at every look, never stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from firectl.errors import ApiError, Code, InputError
from firectl.names import ID_MAX, ResourceName
from firectl.schemas.shape import DeploymentShape, DeploymentShapeVersion
from firectl.schemas.words import ModelKind, ModelState, is_quantized
from firectl.server.access.auth import PUBLIC_ACCOUNT, Caller
from firectl.server.control.accounts import access
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.rows import ModelRow

ANY = "-"
LATEST = "latest"
DEFAULT = "default"
ACCELERATOR = "NVIDIA_A100_80GB"
"""Nominal: replicas run on whatever this machine has."""


@dataclass(frozen=True)
class _Kind:
    precision: str
    preset: str
    description: str

    @property
    def suffix(self) -> str:
        return f"-{self.precision.lower()}"


_KINDS = (
    _Kind("BF16", "MINIMAL", "The weights as they are stored; takes addons."),
    _Kind("FP8", "FAST", "Nominal here: the weights as they are stored; takes no addons."),
)


def list_shapes(platform: Platform, caller: Caller, account: str, target: str | None) -> list[DeploymentShape]:
    """The shapes of the bases of an account and of the public one; with a target model those that can serve it."""
    with platform.store.read() as tx:
        accounts = dict.fromkeys((account, PUBLIC_ACCOUNT))
        everywhere = [row for name in accounts for row in _bases(tx, name)]
        rows = everywhere if target is None else [_target_base(tx, caller, target)]
        return [shape for row in rows for shape in _shapes(row)]


def get_shape(platform: Platform, name: str) -> DeploymentShape:
    """The shape of that full name."""
    with platform.store.read() as tx:
        return find(tx, name)[0]


def list_versions(platform: Platform, account: str, shape_id: str) -> list[DeploymentShapeVersion]:
    """The versions of a shape; `-` for those of all shapes of the account and the public one."""
    with platform.store.read() as tx:
        if shape_id == ANY:
            accounts = dict.fromkeys((account, PUBLIC_ACCOUNT))
            return [_version(shape, row) for a in accounts for row in _bases(tx, a) for shape in _shapes(row)]
        shape, row = find(tx, f"{account}/deploymentShapes/{shape_id}")
        return [_version(shape, row)]


def get_version(platform: Platform, shape: str, version: str) -> DeploymentShapeVersion:
    """A version of the shape of that full name; `latest` is the only one there is."""
    with platform.store.read() as tx:
        found = _version(*find(tx, shape))
    if version != LATEST and found.name != f"{shape}/versions/{version}":
        raise ApiError(Code.NOT_FOUND, f"deployment shape version {shape}/versions/{version} not found")
    return found


def match(platform: Platform, caller: Caller, model: str, enable_addons: bool) -> list[DeploymentShapeVersion]:
    """The versions that a deployment of this model can be made with."""
    with platform.store.read() as tx:
        row = _target_base(tx, caller, model)
        found = [_version(shape, row) for shape in _shapes(row)]
    return [version for version in found if not enable_addons or (version.snapshot and version.snapshot.enable_addons)]


def find(tx: Tx, name: str) -> tuple[DeploymentShape, ModelRow]:
    """The shape of that full name (without a version), and the row of its base."""
    account = name.partition("/deploymentShapes/")[0]
    for row in _bases(tx, account):
        for shape in _shapes(row):
            if shape.name == name:
                return shape, row
    raise ApiError(Code.NOT_FOUND, f"deployment shape {name} not found")


def version_for(tx: Tx, caller: Caller, asked: str, base: ModelRow) -> DeploymentShapeVersion:
    """The version that a `deployment_shape` means: `default`, an ID, the full name of a shape or of a version."""
    if asked == DEFAULT:
        return _version(_shapes(base)[0], base)
    text = asked if "/" in asked else f"{caller.account}/deploymentShapes/{asked}"
    try:
        name = ResourceName.parse(text)
    except InputError as error:
        raise ApiError(Code.INVALID_ARGUMENT, f"deployment_shape: {error.message}", hint=error.hint) from error
    if name.collection != "deploymentShapes":
        raise ApiError(Code.INVALID_ARGUMENT, f"deployment_shape: {asked} is not the name of a deployment shape")
    access.account(caller, name.account)
    shape = f"accounts/{name.account}/deploymentShapes/{name.id}"
    if "/" not in asked and "/models/" in base.name:
        # An ID alone also means a shape of the base's own account, where the shapes of public bases are.
        beside = f"{base.account}/deploymentShapes/{asked}"
        shape = beside if any(found.name == beside for found in _shapes(base)) else shape
    version = _version(*find(tx, shape))
    if name.version not in (None, LATEST) and version.name != f"{shape}/versions/{name.version}":
        raise ApiError(Code.NOT_FOUND, f"deployment shape version {asked} not found")
    return version


def same_shape(stored: object, asked: object) -> bool:
    """Whether a stored version's name is the shape asked for, or a version of it."""
    if not isinstance(stored, str) or not isinstance(asked, str):
        return False
    shape = stored.partition("/versions/")[0]
    return asked in (shape, shape.rsplit("/", 1)[1], f"{shape}/versions/{LATEST}")


def _bases(tx: Tx, account: str) -> list[ModelRow]:
    rows = [
        row for row in tx.models.of_account(account) if row.kind == ModelKind.BASE and row.state == ModelState.READY
    ]
    return sorted(rows, key=lambda row: (row.create_time, row.name))


def _target_base(tx: Tx, caller: Caller, target: str) -> ModelRow:
    """The base under a model: itself, or an addon's."""
    row = access.model(tx, caller, access.reference(target, "target_model", "models", caller))
    base = row if row.kind == ModelKind.BASE else tx.models.get(row.base or "")
    if base is None or base.state != ModelState.READY:
        raise ApiError(Code.FAILED_PRECONDITION, f"the base model {row.base or row.name} is not READY on this platform")
    return base


def _shapes(row: ModelRow) -> list[DeploymentShape]:
    details = row.resource.base_model_details
    model_id = row.name.rsplit("/", 1)[1]
    return [
        DeploymentShape(
            name=f"{row.account}/deploymentShapes/{_shape_id(model_id, kind)}",
            display_name=f"{model_id[:40]}, {kind.precision}",
            description=kind.description,
            base_model=row.name,
            model_type=details.model_type if details else None,
            parameter_count=details.parameter_count if details else None,
            accelerator_type=ACCELERATOR,
            accelerator_count=1,
            precision=kind.precision,
            preset_type=kind.preset,
            enable_addons=not is_quantized(kind.precision),
            max_context_length=row.resource.context_length,
            create_time=row.create_time,
            update_time=row.update_time,
        )
        for kind in _KINDS
    ]


def _shape_id(model_id: str, kind: _Kind) -> str:
    """The model's ID with the precision; where that is too long, cut and made unique again."""
    if len(model_id) + len(kind.suffix) <= ID_MAX:
        return model_id + kind.suffix
    digest = hashlib.sha256(model_id.encode()).hexdigest()[:8]
    return f"{model_id[: ID_MAX - len(kind.suffix) - 9].rstrip('-')}-{digest}{kind.suffix}"


def _version(shape: DeploymentShape, row: ModelRow) -> DeploymentShapeVersion:
    # Another content under the same name is another version.
    version = hashlib.sha256((row.content_hash or "").encode()).hexdigest()[:8]
    return DeploymentShapeVersion(
        name=f"{shape.name}/versions/{version}",
        snapshot=shape,
        validated=True,
        latest_validated=True,
        public=row.account == PUBLIC_ACCOUNT,
        create_time=row.create_time,
    )
