"""`firectl deployed-model`: which model is loaded on which deployment."""

from __future__ import annotations

from typing import Any

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, dry_run, listing, option, switch
from firectl.cli.grammar.syntax import NounGroup
from firectl.cli.grammar.types import Named, ShortText
from firectl.cli.views import tables

deployed_model = NounGroup("deployed-model", "Deployed models: which model is loaded on which deployment.")


@deployed_model.verb()
@argument("deployed_model", type=Named("deployed-model"))
@pass_app
def get(app: App, deployed_model: str) -> None:
    """Show one deployed model.

    $ firectl deployed-model get my-lora-a1b2c3d4
    """
    app.emit(app.client.deployed_models.get(deployed_model), tables.DEPLOYED_MODEL)


@deployed_model.verb("list")
@listing
@pass_app
def list_(app: App, **asked: Any) -> None:
    """List which models are loaded where.

    $ firectl deployed-model list
    """
    from firectl.cli.views.listing import show_list

    show_list(app, app.client.deployed_models, tables.DEPLOYED_MODEL, **asked)


@deployed_model.verb()
@argument("deployed_model", type=Named("deployed-model"))
@switch("--default", "Make this deployment the one that the bare model name goes to.")
@option("--description", metavar="TEXT", help="What it is for.")
@option("--display-name", type=ShortText(64), metavar="TEXT", help="A name for people, below 64 characters.")
@switch("--public", "Let other accounts send requests to it.")
@dry_run
@pass_app
def update(app: App, deployed_model: str, **given: Any) -> None:
    """Change the fields that are named, and no others.

    $ firectl deployed-model update my-lora-a1b2c3d4 --default
    """
    from firectl.cli.views.changes import changes, lost
    from firectl.schemas.deployed_model import DeployedModel

    row, mask = changes("deployed-model", DeployedModel, given)
    changed = app.client.deployed_models.update(deployed_model, row, mask)
    app.output.warn_all(lost(given, changed))
    app.emit(changed, tables.DEPLOYED_MODEL)
