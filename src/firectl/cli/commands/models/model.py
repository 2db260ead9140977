"""`firectl model`: bases and LoRA adapters, into the service and out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, assume_yes, dry_run, listing, new_id, option, switch, together, waiting
from firectl.cli.grammar.syntax import NounGroup
from firectl.cli.grammar.types import Count, Known, Named, Seconds, ShortText
from firectl.cli.views import tables
from firectl.schemas.words import PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])

model = NounGroup("model", "Models: bases and LoRA adapters.")

described = together(
    option(
        "--default-draft-model",
        type=Named("model"),
        metavar="MODEL",
        help="The draft model of its deployments, unless they say.",
    ),
    option("--default-draft-token-count", type=Count(1), metavar="N", help="Tokens to draft at a time."),
    option("--description", metavar="TEXT", help="What it is for."),
    option("--display-name", type=ShortText(64), metavar="TEXT", help="A name for people, below 64 characters."),
    option("--github-url", metavar="URL", help="Its repository."),
    option("--hugging-face-url", metavar="URL", help="Its page on the model hub."),
    switch("--public", "Let other accounts read it."),
    switch("--supports-image-input", "It takes images."),
    switch("--supports-tools", "It calls tools."),
)
"""The flags that are fields of a model."""

sending = together(
    switch("--enable-resumable-upload", "Send large files in parts that can be repeated; default: above 8 MiB."),
    option("--poll-duration", type=Seconds(), default="2h", metavar="DURATION", help="The longest validation (2h)."),
)


@model.verb()
@argument("model_id", type=new_id("model"))
@argument("path", type=click.Path(path_type=Path))
@option(
    "--base-model",
    type=Named("model"),
    metavar="MODEL",
    help="The base of a LoRA; default: the one that the adapter records.",
)
@switch("--embedding", "It makes embeddings.")
@described
@sending
@switch("--skip-checks", "Send an adapter in spite of what is wrong with it.")
@dry_run
@pass_app
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

    An adapter is checked first, and what cannot work is refused before a byte is sent.

    $ firectl model create my-lora ./adapter --base-model accounts/fireworks/models/my-base
    $ firectl -a fireworks model create my-base ./base
    """
    from firectl.cli.model import importing as folder

    described = folder.describe_folder(app, path, base_model, embedding, check=not skip_checks)
    asked = described.model_copy(update=folder.model_fields(given))
    made = folder.import_folder(app, model_id, path, asked, enable_resumable_upload, poll_duration)
    app.emit(made, tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@argument("path", type=click.Path(path_type=Path))
@sending
@dry_run
@pass_app
def upload(app: App, model: str, path: Path, enable_resumable_upload: bool | None, poll_duration: float) -> None:
    """Send the files of a model that is there already, such as one whose upload was cut off.

    $ firectl model upload my-lora ./adapter
    """
    from firectl.cli.model.importing import upload_folder

    name = app.client.models.full_name(model)
    upload_folder(app, name, path, enable_resumable_upload, poll_duration)
    app.emit(app.client.models.get(name), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@pass_app
def get(app: App, model: str) -> None:
    """Show one model, and where it is deployed.

    $ firectl model get my-lora
    """
    app.emit(app.client.models.get(model), tables.MODEL)


@model.verb("list")
@listing
@pass_app
def list_(app: App, **asked: Any) -> None:
    """List models.

    $ firectl model list --filter 'kind = HF_PEFT_ADDON'
    """
    from firectl.cli.views.listing import show_list

    show_list(app, app.client.models, tables.MODEL, **asked)


@model.verb()
@argument("model", type=Named("model"))
@described
@dry_run
@pass_app
def update(app: App, model: str, **given: Any) -> None:
    """Change the fields that are named, and no others.

    $ firectl model update my-lora --public=false
    """
    from firectl.cli.views.changes import changes, lost
    from firectl.schemas.model import Model

    asked, mask = changes("model", Model, given)
    changed = app.client.models.update(model, asked, mask)
    app.output.warn_all(lost(given, changed))
    app.emit(changed, tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@assume_yes
@dry_run
@pass_app
def delete(app: App, model: str) -> None:
    """Delete a model and its files. One that is loaded somewhere must be unloaded first.

    $ firectl model delete my-lora --yes
    """
    name = app.client.models.full_name(model)
    app.confirm(f"Delete {name} and its files?")
    app.client.models.delete(name)
    app.emit_deleted(f"Deleted {name}", lambda: app.client.models.left_of(name), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@argument("path", type=click.Path(path_type=Path))
@pass_app
def download(app: App, model: str, path: Path) -> None:
    """Fetch the files of a model into a folder.

    $ firectl model download my-lora ./adapter
    """
    from firectl.cli.model.importing import download_folder

    name = app.client.models.full_name(model)
    download_folder(app, name, path)
    app.emit(app.client.models.get(name), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@pass_app
def verify(app: App, model: str) -> None:
    """Read the stored files of a model again, and compare them with what was uploaded. For the local platform alone.

    $ firectl model verify my-lora
    """
    from firectl.cli.model.verify import verify_files

    app.emit(verify_files(app, app.client.models.full_name(model)), tables.MODEL)


@model.verb()
@argument("model", type=Named("model"))
@option("--precision", type=Known(PRECISIONS), required=True, metavar="ENUM", help="BF16, FP8, ...")
@waiting("1h")
@dry_run
@pass_app
def prepare(app: App, model: str, precision: str, wait: bool | None, wait_timeout: float) -> None:
    """Prepare a model for deployment in a precision. On the local platform there is nothing to prepare.

    $ firectl model prepare my-base --precision FP8 --wait
    """
    from firectl.cli.deployment.rollout import follow_prepare

    name = app.client.models.full_name(model)
    app.client.models.prepare(name, precision)
    app.emit(follow_prepare(app, name, wait, wait_timeout), tables.MODEL)
