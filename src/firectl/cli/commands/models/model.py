"""`firectl model`: import, change, download and delete bases and LoRA adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from firectl.cli.app import App
from firectl.cli.deployment.rollout import follow_prepare
from firectl.cli.grammar.params import argument, assume_yes, dry_run, listing, new_id, option, switch, together
from firectl.cli.grammar.syntax import NounGroup
from firectl.cli.grammar.types import Count, Known, Named, Seconds, ShortText
from firectl.cli.grammar.waiting import Waiting, waiting
from firectl.cli.model import importing as folder
from firectl.cli.model.importing import download_folder, upload_folder
from firectl.cli.model.verify import verify_files
from firectl.cli.views import tables
from firectl.cli.views.changes import changes, lost
from firectl.cli.views.listing import show_list
from firectl.schemas.words import PRECISIONS

model = NounGroup("model", "Models: bases and LoRA adapters.")

described = together(
    option(
        "--default-draft-model",
        type=Named("model"),
        help="The draft model of its deployments, unless they name one.",
    ),
    option("--default-draft-token-count", type=Count(1), help="Tokens to draft at a time."),
    option("--description", help="What it is for."),
    option("--display-name", type=ShortText(64), help="A name for people, below 64 characters."),
    option("--github-url", metavar="URL", help="Its repository."),
    option("--hugging-face-url", metavar="URL", help="Its page on the model hub."),
    switch("--public", "Let other accounts read it."),
    switch("--supports-image-input", "It takes images."),
    switch("--supports-tools", "It calls tools."),
)
"""The flags that are fields of a model."""

sending = together(
    switch(
        "--enable-resumable-upload",
        "Send large files in parts, so that an upload can be resumed; default: above 8 MiB.",
    ),
    option("--poll-duration", type=Seconds(), default="2h", help="The longest validation (2h)."),
)


@model.verb()
@argument("model_id", type=new_id("model"))
@argument("path", type=click.Path(path_type=Path))
@option("--base-model", type=Named("model"), help="The base of a LoRA; default: the one that the adapter records.")
@switch("--embedding", "It makes embeddings.")
@described
@sending
@switch("--skip-checks", "Send an adapter despite errors in it.")
@dry_run
def create(
    app: App,
    model_id: str,
    path: Path,
    base_model: str | None,
    embedding: bool | None,
    enable_resumable_upload: bool | None,
    poll_duration: float,
    skip_checks: bool | None,
    **given: Any,
) -> None:
    """Import a model from a folder: a LoRA adapter (PEFT), or a base model (Hugging Face).

    An adapter is checked first; one that cannot work is refused before anything is sent.

    $ firectl model create my-lora ./adapter --base-model accounts/fireworks/models/my-base
    $ firectl -a fireworks model create my-base ./base
    """
    described = folder.describe_folder(app, path, base_model, embedding, check=not skip_checks)
    asked = described.model_copy(update={field: value for field, value in given.items() if value is not None})
    made = folder.import_folder(app, model_id, path, asked, enable_resumable_upload, poll_duration)
    app.emit(made, tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@argument("path", type=click.Path(path_type=Path))
@sending
@dry_run
def upload(app: App, model: str, path: Path, enable_resumable_upload: bool | None, poll_duration: float) -> None:
    """Send the files of an existing model, such as one whose upload was interrupted.

    $ firectl model upload my-lora ./adapter
    """
    name = app.client.models.full_name(model)
    upload_folder(app, name, path, enable_resumable_upload, poll_duration)
    app.emit(app.client.models.get(name), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
def get(app: App, model: str) -> None:
    """Show one model, and where it is deployed.

    $ firectl model get my-lora
    """
    app.emit(app.client.models.get(model), tables.MODEL)


@model.verb("list")
@listing
def list_(app: App, **asked: Any) -> None:
    """List models.

    $ firectl model list --filter 'kind = HF_PEFT_ADDON'
    """
    show_list(app, app.client.models, tables.MODEL, **asked)


@model.verb()
@argument("model", type=Named("model"))
@described
@dry_run
def update(app: App, model: str, **given: Any) -> None:
    """Change the fields that are named, and no others.

    $ firectl model update my-lora --public=false
    """
    from firectl.schemas.model import Model

    asked, mask = changes("model", Model, given)
    changed = app.client.models.update(model, asked, mask)
    app.output.warn_all(lost(given, changed))
    app.emit(changed, tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@assume_yes
@dry_run
def delete(app: App, model: str) -> None:
    """Delete a model and its files.

    A model that is loaded or deployed is refused: unload it, or delete its deployment, first.

    $ firectl model delete my-lora --yes
    """
    name = app.client.models.full_name(model)
    app.confirm(f"Delete {name} and its files?")
    app.client.models.delete(name)
    app.emit_deleted(f"Deleted {name}", lambda: app.client.models.left_of(name), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@argument("path", type=click.Path(path_type=Path))
def download(app: App, model: str, path: Path) -> None:
    """Fetch the files of a model into a folder.

    $ firectl model download my-lora ./adapter
    """
    name = app.client.models.full_name(model)
    download_folder(app, name, path)
    app.emit(app.client.models.get(name), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
def verify(app: App, model: str) -> None:
    """Read a model's stored files again and compare them with the upload. Local platform only.

    $ firectl model verify my-lora
    """
    app.emit(verify_files(app, app.client.models.full_name(model)), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@option("--precision", type=Known(PRECISIONS), required=True, metavar="ENUM", help="BF16, FP8, ...")
@waiting("1h")
@dry_run
def prepare(app: App, model: str, precision: str, wait: Waiting | None) -> None:
    """Prepare a model for deployment in a precision. The local platform needs no preparation.

    $ firectl model prepare my-base --precision FP8 --wait
    """
    name = app.client.models.full_name(model)
    app.client.models.prepare(name, precision)
    app.emit(follow_prepare(app, name, wait), tables.MODEL)
