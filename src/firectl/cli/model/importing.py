"""Import a folder of weights: find its kind of model, check it, create the model in the API, upload and validate.

Local checks run before the upload. If the server refuses the files, the new model is deleted again.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.cli import in_flight
from firectl.cli.app import App
from firectl.cli.output.counted import counted
from firectl.errors import ApiError, Code, InputError, NetworkError
from firectl.names import ResourceName
from firectl.schemas.words import ModelKind, Reason

if TYPE_CHECKING:
    from firectl.schemas.model import Model

RECORDED_BASE = "base_model_name_or_path"
REFUSALS = frozenset({Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE})


def describe_folder(app: App, path: Path, base_model: str | None, embedding: bool | None, check: bool) -> Model:
    """Return the description of the model in a folder. InputError if the model cannot work or cannot be uploaded."""
    from firectl.client.transfer.files import scan
    from firectl.lora.read.adapter_config import CONFIG

    scan(path)
    if base_model is not None or (path / CONFIG).exists():
        return _adapter(app, path, base_model, check)
    if not (path / "config.json").exists():
        expected = "expected a LoRA (adapter_config.json) or a base model (config.json)"
        raise InputError(f"{expected}, and {path} has neither file", hint=f"ls {shlex.quote(str(path))}")
    return _base(path, embedding)


def import_folder(app: App, model_id: str, path: Path, model: Model, resumable: bool | None, poll: float) -> Model:
    """Create the model, then upload and validate its files. `poll`: the longest wait for the validation, in seconds."""
    _plan_files(app, path)
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
                    # Another upload has taken over this model, so it must not be deleted.
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
    """Delete the new model. A failure is only a warning, so that it does not hide the error of the upload."""
    try:
        app.client.models.delete(name)
    except ApiError as error:
        app.output.warn(f"{name} could not be deleted: {error.message}. To do it: firectl model delete {name}")


def upload_folder(app: App, name: str, path: Path, resumable: bool | None, poll: float) -> None:
    """Upload the files of a folder and validate them. Print the server's warnings on stderr."""
    _plan_files(app, path)
    with app.progress.transfer("uploading") as show:
        done = app.client.models.upload(name, path, resumable=resumable, on_progress=show, validate_timeout=poll)
    for warning in done.warnings or []:
        # The model in the API already names its base, so a warning about the base in the adapter's config is skipped.
        if RECORDED_BASE not in warning:
            app.output.warn(warning)


def _plan_files(app: App, path: Path) -> None:
    """In a dry run, store the names and sizes of the files that would be uploaded."""
    from firectl.client.transfer.files import scan

    if app.dry_run:
        app.planned_files = {file.name: file.size for file in scan(path)}


def download_folder(app: App, name: str, path: Path) -> None:
    """Download every file of a model into a folder."""
    left = f"{path} is not complete. To resume: firectl model download {name} {path}"
    with app.leaving(left), app.progress.transfer("downloading") as show:
        done = app.client.models.download(name, path, on_progress=show)
    kept = f"; {counted(len(done.there), 'file')} already there with the same content" if done.there else ""
    app.output.note(f"{counted(len(done.written), 'file')} written to {path}{kept}")


def _adapter(app: App, path: Path, base_model: str | None, check: bool) -> Model:
    from firectl.cli.model.known_base import seen_base
    from firectl.lora.check.check import check as examine
    from firectl.lora.read.adapter import Adapter
    from firectl.lora.read.findings import raise_for
    from firectl.schemas.model import Model, PeftDetails

    if not check:
        return _unchecked(app, path, base_model)
    adapter = Adapter.open(path)
    raise_for(examine(adapter).findings)
    base = _base_of(app, path, base_model, adapter.config.base_name)
    with seen_base(app, base, adapter.config.base_name) as seen:
        # A dry run reads only the headers.
        report = examine(adapter, seen, deep=not app.dry_run)
    raise_for(report.findings)
    for finding in report.warnings:
        # If --base-model is given, a warning about the base in the adapter's config does not matter.
        if not (base_model and RECORDED_BASE in finding.where):
            app.output.warn(finding.sentence)
    targets = list(report.facts["target_modules"])
    return Model(
        kind=ModelKind.ADDON, peft_details=PeftDetails(base_model=base, r=adapter.config.r, target_modules=targets)
    )


def _unchecked(app: App, path: Path, base_model: str | None) -> Model:
    """Describe the adapter for --skip-checks: errors become warnings, and only file headers are read."""
    from firectl.lora.check.check import CheckReport
    from firectl.lora.check.check import check as examine
    from firectl.schemas.model import Model, PeftDetails

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
    """Return the hint for a base model that does not exist. `recorded`: whether the adapter's config names the base."""
    from firectl.cli.views.listing import PUBLIC_ACCOUNT

    account, _, model_id = base.split("/")[1:]
    if account != PUBLIC_ACCOUNT:
        return f"--base-model accounts/{PUBLIC_ACCOUNT}/models/{model_id}, if it is a public one"
    there = "firectl model list --filter 'kind = HF_BASE_MODEL'"
    another = f"name one that exists: --base-model MODEL, from {there} or firectl -a {PUBLIC_ACCOUNT} model list"
    first = "the adapter records that base; " if recorded else ""
    own = "" if app.is_hosted else f"; or import it: firectl -a {PUBLIC_ACCOUNT} model create {model_id} DIR"
    return f"{first}{another}{own}"


def _base_of(app: App, path: Path, given: str | None, recorded: str | None) -> str:
    """Return the full name of an adapter's base. ApiError if it does not exist, InputError if unknown or a LoRA."""
    named = ResourceName.read(recorded or "")
    if given is None and (named is None or named.collection != "models"):
        says = f"it records {recorded!r}, which is not a model of the API" if recorded else "it records none"
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
        raise InputError(f"--base-model must be a base model, and {base} is a LoRA")
    return base


def _base(path: Path, embedding: bool | None) -> Model:
    from firectl.lora.read.base_model import BaseModel
    from firectl.schemas.model import BaseModelDetails, Model

    base = BaseModel.open(path)
    details = BaseModelDetails(
        checkpoint_format="HUGGINGFACE",
        model_type=base.model_type,
        parameter_count=str(sum(info.numel for info in base.tensors.values())),
    )
    return Model(kind="EMBEDDING_MODEL" if embedding else ModelKind.BASE, base_model_details=details)
