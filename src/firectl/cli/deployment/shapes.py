"""Find the deployment shapes that fit a model, and the shape that a preset such as `fast` selects. Sends only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firectl.cli.app import App
from firectl.cli.views.deployment_flags import PRESETS
from firectl.errors import InputError
from firectl.schemas.words import ADDONS_NEED_PLAIN_PRECISION, BF16, is_quantized

if TYPE_CHECKING:
    from firectl.schemas.shape import DeploymentShapeVersion


def matching_versions(app: App, model: str) -> list[DeploymentShapeVersion]:
    """Return the validated shape versions for a model, first those made for its base. A LoRA uses its base's shapes."""
    found = app.client.models.get(model)
    base = (found.peft_details.base_model if found.peft_details else None) or found.name or model
    details = (found if base == found.name else app.client.models.get(base)).base_model_details
    kind = (details.model_type, details.parameter_count) if details and details.model_type else None
    owners = dict.fromkeys((base.split("/")[1], app.client.account))
    rows = (row for owner in owners for row in app.client.deployment_shape_versions.list(account=owner))
    fitting: dict[bool, list[DeploymentShapeVersion]] = {True: [], False: []}
    # A list can include shapes of other accounts, so the same version can appear twice.
    for row in {row.name: row for row in rows}.values():
        shape = row.snapshot
        if shape is None or not (row.validated or row.latest_validated):
            continue
        if shape.base_model == base:
            fitting[True].append(row)
        elif shape.base_model is None and kind is not None and (shape.model_type, shape.parameter_count) == kind:
            fitting[False].append(row)
    # In each group, the latest validated version comes first.
    return [row for rows in fitting.values() for row in sorted(rows, key=lambda row: not row.latest_validated)]


def resolve_shape(app: App, text: str, model: str | None) -> str:
    """Return the full name for `--deployment-shape`. A preset selects the first shape that fits `model`."""
    if text in PRESETS:
        if model is None:
            raise InputError(
                f"no shape can be chosen for {text!r}, because the deployment has no model",
                hint="firectl deployment-shape list, then --deployment-shape NAME",
            )
        preset = PRESETS[text]
        for version in matching_versions(app, model):
            if version.snapshot and (preset is None or version.snapshot.preset_type == preset):
                return (version.name or "").partition("/versions/")[0]
        raise InputError(
            f"no validated shape of {model} has the preset {text!r}",
            hint=f"firectl deployment-shape-version match --model {model}",
        )
    shapes = app.client.deployment_shape_versions if "/versions/" in text else app.client.deployment_shapes
    return shapes.full_name(text)


def choose_version(app: App, model: str, *, addons: bool, precision: str | None) -> str:
    """Choose a shape version for a create without shape and accelerator, which the service would refuse.

    A terminal asks the user; a script gets the first version that fits. InputError if none fits.
    """
    found = matching_versions(app, model)
    if addons:
        plain = [row for row in found if row.snapshot and row.snapshot.precision == BF16]
        found = [row for row in plain if row.snapshot and row.snapshot.enable_addons is not False]
        # Some servers omit false values, so None can mean false. Shapes with an explicit true come first.
        found.sort(key=lambda row: not (row.snapshot and row.snapshot.enable_addons))
    if precision:
        found = [row for row in found if row.snapshot and row.snapshot.precision == precision]
    if not found:
        wanted = f" with {precision}" if precision else f" with {BF16} that takes addons" if addons else ""
        raise InputError(
            f"{model} has no validated shape{wanted}, and neither --deployment-shape nor --accelerator-type is given",
            hint=f"firectl deployment-shape-version match --model {model}, or give --accelerator-type and "
            "--accelerator-count",
        )
    chosen = found[app.choose("Deploy on which shape", [described(row) for row in found])]
    app.output.note(
        f"Shape: {described(chosen)}. To choose another: --deployment-shape, from "
        f"firectl deployment-shape-version match --model {model}"
    )
    return chosen.name or ""


def described(version: DeploymentShapeVersion) -> str:
    """Describe a shape version on one line: name, hardware, precision and preset."""
    shape = version.snapshot
    if shape is None:
        return version.name or ""
    hardware = f"{shape.accelerator_count or 1} x {shape.accelerator_type}" if shape.accelerator_type else ""
    facts = [fact for fact in (hardware, shape.precision, shape.preset_type) if fact]
    return f"{version.name} ({', '.join(facts)})" if facts else version.name or ""


def refuse_quantized(app: App, shape: str, model: str) -> None:
    """Raise InputError if the precision of a shape allows no addons. The hint names shapes that allow addons."""
    version = shape if "/versions/" in shape else f"{shape}/versions/latest"
    snapshot = app.client.deployment_shape_versions.get(version).snapshot
    if snapshot is None or not is_quantized(snapshot.precision):
        return
    others = [row for row in matching_versions(app, model) if row.snapshot and not is_quantized(row.snapshot.precision)]
    names_of = dict.fromkeys((row.name or "").partition("/versions/")[0] for row in others)
    raise InputError(
        f"{ADDONS_NEED_PLAIN_PRECISION}: the shape {shape} has {snapshot.precision}",
        hint=f"--deployment-shape {' or '.join(names_of)}" if names_of else "--precision BF16 without a shape",
    )


def for_base(app: App, base_model: str | None, filter: str | None) -> str | None:
    """Return `filter`, restricted to the shape versions for one base model if `base_model` is given."""
    if base_model is None:
        return filter
    mine = f'snapshot.base_model = "{app.client.models.full_name(base_model)}"'
    return f"({filter}) AND {mine}" if filter else mine
