"""`firectl deployment`: what runs, and how many replicas of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from firectl.cli import in_flight
from firectl.cli.app import App
from firectl.cli.deployment import request, rollout
from firectl.cli.deployment.billing import say_what_bills
from firectl.cli.deployment.rollout import follow_create, follow_scale, say_what_came_back, say_what_is_lost
from firectl.cli.grammar.params import argument, assume_yes, dry_run, listing, new_id, option, switch
from firectl.cli.grammar.syntax import NounGroup
from firectl.cli.grammar.types import Count, Named
from firectl.cli.grammar.waiting import Waiting, waiting
from firectl.cli.views import tables
from firectl.cli.views.deployment_flags import CHANGEABLE, FLAGS, flag_options
from firectl.cli.views.listing import show_list
from firectl.names import random_id

deployment = NounGroup("deployment", "Deployments: a model on hardware, with its replicas.")


@deployment.verb()
@argument("model", type=Named("model"))
@option("--deployment-id", type=new_id("deployment"), help="Its ID; default: 8 random characters.")
@flag_options(FLAGS)
@option("--file", type=click.Path(path_type=Path), help="JSON with the same fields; flags win.")
@switch("--disable-speculative-decoding", "Do not use the draft model of the base.")
@switch("--skip-shape-validation", "Accept a shape that was not validated.")
@switch("--validate-only", "Let the server check the request, and create nothing.")
@option("-c", "--cluster-id", metavar="ID", help="A cluster of your own.")
@switch("--preemptible", "Run on capacity that can be taken away.")
@waiting("1h", probe=True)
@dry_run
def create(
    app: App,
    model: str,
    deployment_id: str | None,
    file: Path | None,
    validate_only: bool | None,
    wait: Waiting | None,
    **given: Any,
) -> None:
    """Create a deployment of MODEL: a base, or a LoRA, which is merged into its base.

    With --enable-addons, MODEL is a base onto which LoRAs are loaded (firectl load-lora).

    $ firectl deployment create accounts/my-account/models/my-lora --wait
    $ firectl deployment create accounts/fireworks/models/my-base --enable-addons
    """
    asked = request.build_create(app, model, file, given)
    chosen = deployment_id or random_id()
    left = [] if validate_only else [in_flight.create(app, app.client.deployments.full_name(chosen))]
    with app.leaving(*left):
        made = app.client.deployments.create(
            asked,
            deployment_id=chosen,
            disable_speculative_decoding=given["disable_speculative_decoding"],
            skip_shape_validation=given["skip_shape_validation"],
            validate_only=validate_only,
        )
        app.output.warn_all(request.differences(asked, made))
        if validate_only:
            app.output.note("Nothing was created.")
        else:
            made = rollout.follow_create(app, made, wait)
        app.emit(made, tables.DEPLOYMENT)


@deployment.verb()
@argument("deployment", type=Named("deployment"))
def get(app: App, deployment: str) -> None:
    """Show one deployment.

    $ firectl deployment get my-deployment
    """
    app.emit(app.client.deployments.get(deployment), tables.DEPLOYMENT)


@deployment.verb("list")
@listing
@switch("--show-deleted", "Include deleted ones that can still be undeleted.")
def list_(app: App, **asked: Any) -> None:
    """List deployments; on the hosted service, stderr also says what bills now.

    $ firectl deployment list --filter 'state = READY'
    """
    say_what_bills(app, show_list(app, app.client.deployments, tables.DEPLOYMENT, **asked))


@deployment.verb()
@argument("deployment", type=Named("deployment"))
@flag_options(CHANGEABLE)
@switch("--skip-shape-validation", "Accept a shape that was not validated.")
@dry_run
def update(app: App, deployment: str, skip_shape_validation: bool | None, **given: Any) -> None:
    """Change the fields that are named, and no others.

    $ firectl deployment update my-deployment --max-replica-count 2
    """
    asked, mask = request.build_update(app, deployment, given)
    with app.leaving(in_flight.update(app.client.deployments.full_name(deployment))):
        changed = app.client.deployments.update(deployment, asked, mask, skip_shape_validation=skip_shape_validation)
    app.output.warn_all(request.differences(asked, changed))
    app.emit(changed, tables.DEPLOYMENT)


@deployment.verb()
@argument("deployment", type=Named("deployment"))
@option("--replica-count", type=Count(), required=True, help="The number of replicas; 0 stops them all.")
@waiting("1h", probe=True)
@dry_run
def scale(app: App, deployment: str, replica_count: int, wait: Waiting | None) -> None:
    """Set how many replicas a deployment has. A bound that excludes the number is moved to it.

    $ firectl deployment scale my-deployment --replica-count 2 --wait
    """
    name = app.client.deployments.full_name(deployment)
    with app.leaving(in_flight.scale(app, name, replica_count)):
        app.client.deployments.scale(name, replica_count)
        app.emit(follow_scale(app, name, replica_count, wait), tables.DEPLOYMENT)


@deployment.verb()
@argument("deployment", type=Named("deployment"))
@switch("--hard", "Delete it permanently: it cannot be undeleted.")
@switch("--ignore-checks", "Delete it even if it is in use.")
@waiting("1h")
@assume_yes
@dry_run
def delete(app: App, deployment: str, hard: bool | None, ignore_checks: bool | None, wait: Waiting | None) -> None:
    """Delete a deployment; it can be undeleted for a while, unless --hard.

    $ firectl deployment delete my-deployment --yes
    """
    name = app.client.deployments.full_name(deployment)
    app.confirm(f"Delete {name}?")
    again = rollout.was_deleted(app, name)
    with app.leaving(in_flight.delete(name, hard=bool(hard))):
        app.client.deployments.delete(name, hard=hard, ignore_checks=ignore_checks)
        rollout.follow_delete(app, name, wait, hard=bool(hard), again=again)


@deployment.verb()
@argument("deployment", type=Named("deleted"))
@waiting("1h", probe=True)
@dry_run
def undelete(app: App, deployment: str, wait: Waiting | None) -> None:
    """Bring back a deployment that was deleted, and what was loaded on it.

    $ firectl deployment undelete my-deployment --wait
    """
    name = app.client.deployments.full_name(deployment)
    with app.leaving(in_flight.undelete(app, name)):
        back = app.client.deployments.undelete(name)
        say_what_is_lost(app, back)
        done = follow_create(app, back, wait)
        if wait:
            say_what_came_back(app, name)
        app.emit(done, tables.DEPLOYMENT)
