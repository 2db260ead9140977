"""`firectl deployment-shape-version`: the versions of a shape, and which of them fit a model."""

from __future__ import annotations

from typing import Any

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, listing, option
from firectl.cli.grammar.syntax import NAMED, NounGroup
from firectl.cli.grammar.types import Named
from firectl.cli.views import tables

deployment_shape_version = NounGroup(
    "deployment-shape-version", "Versions of deployment shapes, and which fit a model."
)


@deployment_shape_version.verb(formats=NAMED)
@argument("version", type=Named("deployment-shape-version"))
@pass_app
def get(app: App, version: str) -> None:
    """Show one version of a deployment shape.

    $ firectl deployment-shape-version get my-shape/versions/latest
    """
    app.emit(app.client.deployment_shape_versions.get(version), tables.DEPLOYMENT_SHAPE_VERSION)


@deployment_shape_version.verb("list", formats=NAMED)
@argument("shape", type=Named("deployment-shape"), required=False)
@listing
@option("--base-model", type=Named("model"), metavar="MODEL", help="Only versions for this base model.")
@pass_app
def list_(app: App, shape: str | None, base_model: str | None, filter: str | None, **asked: Any) -> None:
    """List the versions of a shape, or of all shapes.

    $ firectl deployment-shape-version list -a fireworks
    """
    from firectl.cli.deployment.shapes import for_base
    from firectl.cli.views.listing import show_list

    narrowed = for_base(app, base_model, filter)
    versions = app.client.deployment_shape_versions
    show_list(app, versions, tables.DEPLOYMENT_SHAPE_VERSION, shape=shape, filter=narrowed, **asked)


@deployment_shape_version.verb(formats=NAMED)
@option(
    "--model",
    required=True,
    type=Named("model"),
    metavar="MODEL",
    help="The model to deploy; a LoRA counts as its base.",
)
@pass_app
def match(app: App, model: str) -> None:
    """List the validated versions that a model can be deployed on, those for exactly its base first.

    $ firectl deployment-shape-version match --model accounts/fireworks/models/my-base
    """
    from firectl.cli.deployment.shapes import matching_versions

    app.emit(matching_versions(app, model), tables.DEPLOYMENT_SHAPE_VERSION)
