"""A folder of weights as a model of the API: what kind it is, whether it can work, and the whole way from row to READY.

Refuses before anything is sent; leaves no row behind whose files the server refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.cli import in_flight
from firectl.cli.app import App
from firectl.cli.output.counted import counted
from firectl.errors import ApiError, Code, InputError, NetworkError

if TYPE_CHECKING:
    from firectl.schemas.model import Model

RECORDED_BASE = "base_model_name_or_path"
REFUSALS = frozenset({Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE})


def describe_folder(app: App, path: Path, base_model: str | None, embedding: bool | None, check: bool) -> Model:
    """The model that a folder holds, as far as it can be read. InputError when it cannot work or cannot be sent."""
    from firectl.client.transfer.files import scan

    scan(path)
    if base_model is not None or (path / "adapter_config.json").exists():
        return _adapter(app, path, base_model, check)
    return _base(path, embedding)


def import_folder(app: App, model_id: str, path: Path, model: Model, resumable: bool | None, poll: float) -> Model:
    """Creates the row, sends the files, has them validated; the model as it is then. `poll`: seconds for validating."""
    from firectl.schemas.words import Reason

    _say_what_is_sent(app, path)
    with app.leaving(in_flight.model(app.client.models.full_name(model_id), path)):
        name = app.client.models.create(model_id, model).name or ""
        left = (
            f"{name} is not complete. "
            f"To go on: firectl model upload {name} {path}; to drop it: firectl model delete {name}"
        )
        with app.leaving(left):
            try:
                upload_folder(app, name, path, resumable, poll)
            except ApiError as error:
                if error.reason in (Reason.MODEL_FILES_SETTLED, Reason.UPLOAD_SUPERSEDED):
                    # Somebody else has uploaded it meanwhile, or does: the row is theirs.
                    raise
                if error.code in REFUSALS and not isinstance(error, NetworkError):
                    _drop(app, name)
                else:
                    app.output.note(left)
                raise
            except InputError:
                _drop(app, name)
                raise
    return app.client.models.get(name)


def _drop(app: App, name: str) -> None:
    """Deletes the row. That it stays is said beside the error that led here, and must not take its place."""
    try:
        app.client.models.delete(name)
    except ApiError as error:
        app.output.warn(f"{name} could not be deleted: {error.message}. To do it: firectl model delete {name}")


def upload_folder(app: App, name: str, path: Path, resumable: bool | None, poll: float) -> None:
    """Sends the files of a folder and has them validated. Says on stderr what the server warns of."""
    _say_what_is_sent(app, path)
    with app.progress.transfer("uploading") as transfer:
        done = app.client.models.upload(
            name, path, resumable=resumable, on_progress=transfer.show, validate_timeout=poll
        )
    for warning in done.warnings or []:
        # The base is settled by now, whatever the adapter records of it.
        if RECORDED_BASE not in warning:
            app.output.warn(warning)


def _say_what_is_sent(app: App, path: Path) -> None:
    """For a dry run, which ends before it comes to the files."""
    from firectl.client.transfer.files import scan

    if app.dry_run:
        app.planned_files = {file.name: file.size for file in scan(path)}


def download_folder(app: App, name: str, path: Path) -> None:
    """Fetches every file of a model into a folder."""
    left = f"{path} is not complete. What came is kept: firectl model download {name} {path}"
    with app.leaving(left), app.progress.transfer("downloading") as transfer:
        done = app.client.models.download(name, path, on_progress=transfer.show)
    app.output.note(f"{counted(len(done.written), 'file')} written to {path}" + _kept(len(done.there)))


def _kept(count: int) -> str:
    return f"; {counted(count, 'file')} there already, with the same content" if count else ""


def model_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that are fields of a model, without those that were not given."""
    return {field: value for field, value in given.items() if value is not None}


def _adapter(app: App, path: Path, base_model: str | None, check: bool) -> Model:
    from firectl.cli.model.known_base import seen_base
    from firectl.lora.check.check import check as examine
    from firectl.lora.check.check import raise_for_errors
    from firectl.lora.read.adapter import Adapter
    from firectl.schemas.model import Model, PeftDetails
    from firectl.schemas.words import ModelKind

    if not check:
        return _insisted(app, path, base_model)
    adapter = Adapter.open(path)
    raise_for_errors(examine(adapter))
    base = _base_of(app, path, base_model, adapter.config.base_name)
    with seen_base(app, base, adapter.config.base_name) as seen:
        # The weights are read once, for what is about to be sent; a dry run stays with the headers.
        report = examine(adapter, seen, deep=not app.dry_run)
    raise_for_errors(report)
    for finding in report.warnings:
        # What the adapter records of its base is of no interest to someone who names the base.
        if not (base_model and RECORDED_BASE in finding.where):
            app.output.warn(finding.sentence)
    targets = list(report.facts["target_modules"])
    return Model(
        kind=ModelKind.ADDON, peft_details=PeftDetails(base_model=base, r=adapter.config.r, target_modules=targets)
    )


def _insisted(app: App, path: Path, base_model: str | None) -> Model:
    """The same for a caller who wants it sent as it is: what is wrong is a warning, and is found in headers alone."""
    from firectl.lora.check.check import CheckReport
    from firectl.lora.check.check import check as examine
    from firectl.schemas.model import Model, PeftDetails
    from firectl.schemas.words import ModelKind

    try:
        report = examine(path)
    except InputError as error:  # a `.bin`, and no torch to read it
        app.output.warn(error.message)
        report = CheckReport(())
    for finding in report.errors + report.warnings:
        if not (base_model and RECORDED_BASE in finding.where):
            app.output.warn(finding.sentence)
    recorded = report.adapter.config.base_name if report.adapter else None
    details = PeftDetails(base_model=_base_of(app, path, base_model, recorded))
    if report.facts:
        details.r, details.target_modules = report.facts["r"], list(report.facts["target_modules"])
    return Model(kind=ModelKind.ADDON, peft_details=details)


def _other_base(app: App, base: str, *, recorded: bool) -> str:
    """What to do where the base of an adapter is not there."""
    from firectl.cli.views.listing import PUBLIC_ACCOUNT

    account, _, model_id = base.split("/")[1:]
    if account != PUBLIC_ACCOUNT:
        return f"--base-model accounts/{PUBLIC_ACCOUNT}/models/{model_id}, if it is a public one"
    there = "firectl model list --filter 'kind = HF_BASE_MODEL'"
    another = f"name one that is there: --base-model MODEL, from {there} or firectl -a {PUBLIC_ACCOUNT} model list"
    first = "the adapter records that base; " if recorded else ""
    own = "" if app.is_hosted else f"; or import it: firectl -a {PUBLIC_ACCOUNT} model create {model_id} DIR"
    return f"{first}{another}{own}"


def _base_of(app: App, path: Path, given: str | None, recorded: str | None) -> str:
    """The full name of an adapter's base, known to the server as a base."""
    from firectl.names import ResourceName
    from firectl.schemas.words import ModelKind

    named = ResourceName.read(recorded or "")
    if given is None and (named is None or named.collection != "models"):
        says = f"it records {recorded!r}, which is no model of the API" if recorded else "it records none"
        raise InputError(
            f"{path} is a LoRA, and its base model is not known: {says}",
            hint="--base-model accounts/fireworks/models/BASE_MODEL_ID",
        )
    base = app.client.models.full_name(given or str(named))
    try:
        found = app.client.models.get(base)
    except ApiError as error:
        if error.code is Code.NOT_FOUND:
            error.hint = _other_base(app, base, recorded=given is None)
        raise
    if found.kind == ModelKind.ADDON:
        raise InputError(f"{base} is a LoRA itself: --base-model wants a base model")
    return base


def _base(path: Path, embedding: bool | None) -> Model:
    from firectl.lora.read.base_model import BaseModel
    from firectl.schemas.model import BaseModelDetails, Model
    from firectl.schemas.words import ModelKind

    base = BaseModel.open(path)
    details = BaseModelDetails(
        checkpoint_format="HUGGINGFACE",
        model_type=base.model_type,
        parameter_count=str(sum(info.numel for info in base.tensors.values())),
    )
    return Model(kind="EMBEDDING_MODEL" if embedding else ModelKind.BASE, base_model_details=details)
