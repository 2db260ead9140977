"""`firectl deployment-shape`: tested combinations of hardware and settings."""

from __future__ import annotations

from typing import Any

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, listing, option
from firectl.cli.grammar.syntax import NAMED, NounGroup
from firectl.cli.grammar.types import Named
from firectl.cli.views import tables

deployment_shape = NounGroup("deployment-shape", "Deployment shapes: tested hardware and settings for a model.")


@deployment_shape.verb(formats=NAMED)
@argument("shape", type=Named("deployment-shape"))
@pass_app
def get(app: App, shape: str) -> None:
    """Show one deployment shape.

    $ firectl deployment-shape get accounts/fireworks/deploymentShapes/my-shape
    """
    app.emit(app.client.deployment_shapes.get(shape), tables.DEPLOYMENT_SHAPE)


@deployment_shape.verb("list", formats=NAMED)
@listing
@option("--target-model", type=Named("model"), metavar="MODEL", help="Only shapes for this model.")
@pass_app
def list_(app: App, target_model: str | None, **asked: Any) -> None:
    """List deployment shapes.

    $ firectl deployment-shape list -a fireworks
    """
    from firectl.cli.views.listing import show_list

    model = app.client.models.full_name(target_model) if target_model else None
    shapes = app.client.deployment_shapes
    show_list(app, shapes, tables.DEPLOYMENT_SHAPE, target_model=model, **asked)
