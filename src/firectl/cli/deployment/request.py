"""Build the request of `deployment create` and `update` from MODEL, `--file` and flags. Refuse what cannot work.

Some checks read from the API. Nothing here changes a resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.deployment.file import read_deployment, read_file
from firectl.cli.deployment.shapes import choose_version, refuse_quantized, resolve_shape
from firectl.cli.output.render import dig, nested
from firectl.cli.views.changes import difference
from firectl.cli.views.deployment_flags import CHANGEABLE, FLAGS, given_fields
from firectl.errors import InputError
from firectl.schemas.words import ADDONS_NEED_PLAIN_PRECISION, ModelKind, is_quantized

if TYPE_CHECKING:
    from firectl.schemas.deployment import Deployment


def build_create(app: App, model: str, file: Path | None, given: Mapping[str, Any]) -> Deployment:
    """Return the deployment to create. Flags override `file`, and MODEL overrides both.

    Checks that need no request run before checks that need one.
    """
    fields = given_fields(FLAGS, given)
    document = nested(fields, read_file(file, app.output.note) if file else None)
    refuse_impossible(document)
    for field, named in (("base_model", model), ("draft_model", document.get("draft_model"))):
        if named:
            document[field] = app.full_name(named, "models")
    _refuse_unknown(app, given)
    if document.get("expire_time"):
        app.output.warn(
            "expire_time is deprecated by the API and deletes nothing: use --scale-to-zero-window, "
            "and firectl deployment delete when you are done"
        )
    _refuse_addons_on_addon(app, document)
    model, addons = document["base_model"], bool(document.get("enable_addons"))
    if shape := document.get("deployment_shape"):
        document["deployment_shape"] = _fitting_shape(app, shape, model, addons)
    elif not (document.get("accelerator_type") or document.get("deployment_template")) and app.is_hosted:
        precision = document.get("precision")
        document["deployment_shape"] = choose_version(app, model, addons=addons, precision=precision)
    return read_deployment(document)


def build_update(app: App, deployment: str, given: Mapping[str, Any]) -> tuple[Deployment, list[str]]:
    """Return a deployment with only the given fields, and the paths of these fields for the update mask.

    If a shape is given, read `deployment` from the API, because the shape depends on the deployment's model.
    """
    fields = given_fields(CHANGEABLE, given)
    if not fields:
        raise InputError("nothing to change: no flag names a field", hint="firectl deployment update --help")
    document = nested(fields)
    refuse_impossible(document)
    if not document.get("deployment_shape"):
        return read_deployment(document), list(fields)
    there = app.client.deployments.get(deployment)
    addons = document.get("enable_addons", there.enable_addons)
    document["deployment_shape"] = _fitting_shape(app, document["deployment_shape"], there.base_model, bool(addons))
    return read_deployment(document), list(fields)


def refuse_impossible(document: Mapping[str, Any]) -> None:
    """Raise InputError for a document that no server accepts."""
    read_deployment(document)
    if document.get("enable_addons") and is_quantized(document.get("precision")):
        raise InputError(ADDONS_NEED_PLAIN_PRECISION, hint="--precision BF16")
    least, most = document.get("min_replica_count"), document.get("max_replica_count")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        hint = f"--max-replica-count {least}, or --min-replica-count {most}"
        raise InputError(f"the minimum of {least} replicas is above the maximum of {most}", hint=hint)
    if document.get("deployment_shape") and document.get("accelerator_type"):
        raise InputError("a deployment shape sets the accelerator: leave out --accelerator-type or --deployment-shape")


def _refuse_unknown(app: App, given: Mapping[str, Any]) -> None:
    """Refuse flags for which the API has no field on the hosted service. On a local platform, warn instead."""
    unknown = [f"--{name.replace('_', '-')}" for name in ("cluster_id", "preemptible") if given[name]]
    if unknown and app.is_hosted:
        raise InputError(f"{unknown[0]} is not supported: the API has no field for it")
    for flag in unknown:
        app.output.warn(f"{flag} has no effect here and is not sent")


def differences(asked: Deployment, made: Deployment) -> Iterator[str]:
    """Yield a sentence for each field without the requested value, because a server can ignore a field silently.

    A version of the requested shape counts as equal.
    """
    wanted, found = asked.to_document(), made.to_document()
    for flag in FLAGS:
        want, have = dig(wanted, flag.path), dig(found, flag.path)
        if flag.path == "deployment_shape" and is_version_of(have, want):
            continue
        if flag.path not in ("expire_time", "direct_route_api_keys"):
            yield from difference(flag.name, want, have)


def is_version_of(version: object, shape: object) -> bool:
    """Whether `version` is the name of a version of `shape`.

    `shape` is a shape's name, with or without `/versions/latest`.
    """
    return str(version).startswith(f"{str(shape).removesuffix('/versions/latest')}/versions/")


def _refuse_addons_on_addon(app: App, document: Mapping[str, Any]) -> None:
    if not document.get("enable_addons"):
        return
    model = document["base_model"]
    found = app.client.models.get(model)
    if found.kind == ModelKind.ADDON:
        base = found.peft_details.base_model if found.peft_details else None
        raise InputError(
            f"{model} is a LoRA, and --enable-addons needs a base model",
            hint=f"firectl deployment create {base or 'BASE_MODEL'} --enable-addons --deployment-id my-deployment, "
            f"then firectl load-lora {model} --deployment my-deployment; "
            "or leave --enable-addons out to merge it",
        )


def _fitting_shape(app: App, shape: str, model: str | None, addons: bool) -> str:
    """Return the full name of the shape. InputError if `addons` is set and the shape's precision allows no addons."""
    full_name = resolve_shape(app, shape, model)
    if addons and model:
        refuse_quantized(app, full_name, model)
    return full_name
