"""What `deployment create` and `update` ask for, put together from MODEL, `--file` and flags; refuses what cannot work.

Reads from the API where that is needed to refuse in time; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.deployment.file import read_deployment, read_file
from firectl.cli.output.render import dig, nested
from firectl.cli.views.changes import difference
from firectl.cli.views.deployment_flags import CHANGEABLE, FLAGS, given_fields
from firectl.errors import InputError

if TYPE_CHECKING:
    from firectl.schemas.deployment import Deployment


def build_create(
    app: App, model: str, file: Path | None, given: Mapping[str, Any], unknown: Mapping[str, object]
) -> Deployment:
    """The deployment to create: `file` first, flags over it, MODEL over all. `unknown`: flags that the API has not.

    What is wrong in itself is refused first, before a key is needed.
    """
    fields = given_fields(FLAGS, given)
    document = nested(fields, read_file(file, app.output.note) if file else None)
    refuse_impossible(document)
    for field, named in (("base_model", model), ("draft_model", document.get("draft_model"))):
        if named:
            document[field] = app.full_name(named, "models")
    _refuse_unknown(app, unknown)
    if document.get("expire_time"):
        app.output.warn(
            "expire_time is deprecated by the API and deletes nothing: use --scale-to-zero-window, "
            "and firectl deployment delete when you are done"
        )
    _refuse_addons_on_addon(app, document)
    return _with_shape(app, _checked(app, document))


def build_update(app: App, deployment: str, given: Mapping[str, Any]) -> tuple[Deployment, list[str]]:
    """(the deployment with just the fields that were given, their paths for the mask).

    A shape depends on what is deployed: where one is given, `deployment` is read first.
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
    """InputError for what no server accepts, before anything is sent."""
    from firectl.schemas.words import ADDONS_NEED_PLAIN_PRECISION, is_quantized

    if document.get("enable_addons") and is_quantized(document.get("precision")):
        raise InputError(ADDONS_NEED_PLAIN_PRECISION, hint="--precision BF16")
    least, most = document.get("min_replica_count"), document.get("max_replica_count")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        hint = f"--max-replica-count {least}, or --min-replica-count {most}"
        raise InputError(f"the minimum of {least} replicas is above the maximum of {most}", hint=hint)
    name = document.get("display_name")
    if isinstance(name, str) and len(name) >= 64:
        raise InputError(f"the display name has {len(name)} characters, and fewer than 64 are allowed")
    if document.get("deployment_shape") and document.get("accelerator_type"):
        raise InputError("a deployment shape brings its accelerator: --accelerator-type cannot be given with it")


def _refuse_unknown(app: App, flags: Mapping[str, object]) -> None:
    """The API has no known field for these: hosted they are refused, and on this machine they mean nothing."""
    given = [flag for flag, value in flags.items() if value]
    if given and app.is_hosted:
        raise InputError(f"the API's create has no known field for {given[0]}, so it cannot be asked for")
    for flag in given:
        app.output.warn(f"{flag} has no effect here and is not sent")


def differences(asked: Deployment, made: Deployment) -> Iterator[str]:
    """What came back other than asked, in words: services drop what they do not like without an error.

    A version of the shape asked for counts as equal.
    """
    wanted, found = asked.to_document(), made.to_document()
    for flag in FLAGS:
        want, have = dig(wanted, flag.path), dig(found, flag.path)
        if flag.path == "deployment_shape" and is_version_of(have, want):
            continue
        if flag.path not in ("expire_time", "direct_route_api_keys"):
            yield from difference(flag.name, want, have)


def is_version_of(version: object, shape: object) -> bool:
    """Whether the shape that came back is the one asked for: a version of it, or the one that `latest` means."""
    return str(version).startswith(f"{str(shape).removesuffix('/versions/latest')}/versions/")


def _refuse_addons_on_addon(app: App, document: Mapping[str, Any]) -> None:
    from firectl.schemas.words import ModelKind

    if not document.get("enable_addons"):
        return
    model = document["base_model"]
    found = app.client.models.get(model)
    if found.kind == ModelKind.ADDON:
        base = found.peft_details.base_model if found.peft_details else None
        raise InputError(
            f"{model} is a LoRA, and --enable-addons needs a base model",
            hint=f"firectl deployment create {base or 'BASE_MODEL'} --enable-addons, then firectl load-lora {model}; "
            "or leave --enable-addons out to merge it",
        )


def _checked(app: App, document: dict[str, Any]) -> Deployment:
    shape = document.get("deployment_shape")
    if shape:
        addons = bool(document.get("enable_addons"))
        document["deployment_shape"] = _fitting_shape(app, shape, document["base_model"], addons)
    return read_deployment(document)


def _fitting_shape(app: App, shape: str, model: str | None, addons: bool) -> str:
    """The shape by its full name; InputError where it rules out the addons that are to be loaded."""
    from firectl.cli.deployment.shapes import refuse_quantized, resolve_shape

    full_name = resolve_shape(app, shape, model)
    if addons and model:
        refuse_quantized(app, full_name, model)
    return full_name


def _with_shape(app: App, asked: Deployment) -> Deployment:
    """The same on a shape that fits, where nothing says what to run on and the server does not choose by itself."""
    if asked.deployment_shape or asked.accelerator_type or asked.deployment_template or not app.is_hosted:
        return asked
    from firectl.cli.deployment.shapes import choose_version

    model, addons = asked.base_model or "", bool(asked.enable_addons)
    version = choose_version(app, model, addons=addons, precision=asked.precision)
    return asked.model_copy(update={"deployment_shape": version})
