"""`firectl deployment`: what runs, and how many replicas of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from firectl.cli import in_flight
from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, assume_yes, dry_run, listing, new_id, option, switch, waiting
from firectl.cli.grammar.syntax import NounGroup
from firectl.cli.grammar.types import Count, Named
from firectl.cli.views import tables
from firectl.cli.views.deployment_flags import CHANGEABLE, FLAGS, flag_options
from firectl.names import random_id

deployment = NounGroup("deployment", "Deployments: a model on hardware, with its replicas.")


@deployment.verb()
@argument("model", type=Named("model"))
@option("--deployment-id", type=new_id("deployment"), metavar="ID", help="Its ID; default: 8 random characters.")
@flag_options(FLAGS)
@option("--file", type=click.Path(path_type=Path), metavar="PATH", help="JSON with the same fields; flags win.")
@switch("--disable-speculative-decoding", "Do not use the draft model of the base.")
@switch("--skip-shape-validation", "Accept a shape that was not validated.")
@switch("--validate-only", "Let the server check the request, and create nothing.")
@option("-c", "--cluster-id", metavar="ID", help="A cluster of your own.")
@switch("--preemptible", "Run on capacity that can be taken away.")
@waiting("1h", probe=True)
@dry_run
@pass_app
def create(
    app: App,
    model: str,
    deployment_id: str | None,
    file: Path | None,
    disable_speculative_decoding: bool | None,
    skip_shape_validation: bool | None,
    validate_only: bool | None,
    cluster_id: str | None,
    preemptible: bool | None,
    wait: bool | None,
    wait_timeout: float,
    no_probe: bool | None,
    **given: Any,
) -> None:
    """Create a deployment of MODEL: a base, or a LoRA, which is merged into its base.

    With --enable-addons, MODEL is a base onto which LoRAs are loaded (firectl load-lora).

    $ firectl deployment create accounts/my-account/models/my-lora --wait
    $ firectl deployment create accounts/fireworks/models/my-base --enable-addons
    """
    from firectl.cli.deployment import request, rollout

    unknown = {"--cluster-id": cluster_id, "--preemptible": preemptible}
    asked = request.build_create(app, model, file, given, unknown)
    chosen = deployment_id or random_id()
    left = [] if validate_only else [in_flight.create(app, app.client.deployments.full_name(chosen))]
    with app.leaving(*left):
        made = app.client.deployments.create(
            asked,
            deployment_id=chosen,
            disable_speculative_decoding=disable_speculative_decoding,
            skip_shape_validation=skip_shape_validation,
            validate_only=validate_only,
        )
        app.output.warn_all(request.differences(asked, made))
        if validate_only:
            app.output.note("Nothing was created.")
        else:
            made = rollout.follow_create(app, made, wait, wait_timeout, probe=not no_probe)
        app.emit(made, tables.DEPLOYMENT)


@deployment.verb()
@argument("deployment", type=Named("deployment"))
@pass_app
def get(app: App, deployment: str) -> None:
    """Show one deployment.

    $ firectl deployment get my-deployment
    """
    app.emit(app.client.deployments.get(deployment), tables.DEPLOYMENT)


@deployment.verb("list")
@listing
@switch("--show-deleted", "Deleted ones too, as long as they can be undeleted.")
@pass_app
def list_(app: App, **asked: Any) -> None:
    """List deployments. Where running costs money, what bills now is said on stderr.

    $ firectl deployment list --filter 'state = READY'
    """
    from firectl.cli.deployment.billing import say_what_bills
    from firectl.cli.views.listing import show_list

    say_what_bills(app, show_list(app, app.client.deployments, tables.DEPLOYMENT, **asked))


@deployment.verb()
@argument("deployment", type=Named("deployment"))
@flag_options(CHANGEABLE)
@switch("--skip-shape-validation", "Accept a shape that was not validated.")
@dry_run
@pass_app
def update(app: App, deployment: str, skip_shape_validation: bool | None, **given: Any) -> None:
    """Change the fields that are named, and no others.

    $ firectl deployment update my-deployment --max-replica-count 2
    """
    from firectl.cli.deployment import request

    asked, mask = request.build_update(app, deployment, given)
    with app.leaving(in_flight.update(app.client.deployments.full_name(deployment))):
        changed = app.client.deployments.update(deployment, asked, mask, skip_shape_validation=skip_shape_validation)
    app.output.warn_all(request.differences(asked, changed))
    app.emit(changed, tables.DEPLOYMENT)


@deployment.verb()
@argument("deployment", type=Named("deployment"))
@option("--replica-count", type=Count(), required=True, metavar="N", help="How many; 0: none for now.")
@waiting("1h", probe=True)
@dry_run
@pass_app
def scale(
    app: App, deployment: str, replica_count: int, wait: bool | None, wait_timeout: float, no_probe: bool | None
) -> None:
    """Set how many replicas a deployment has. Bounds that exclude the number give way to it.

    $ firectl deployment scale my-deployment --replica-count 2 --wait
    """
    from firectl.cli.deployment.rollout import follow_scale

    name = app.client.deployments.full_name(deployment)
    with app.leaving(in_flight.scale(app, name, replica_count)):
        app.client.deployments.scale(name, replica_count)
        app.emit(follow_scale(app, name, replica_count, wait, wait_timeout, probe=not no_probe), tables.DEPLOYMENT)


@deployment.verb()
@argument("deployment", type=Named("deployment"))
@switch("--hard", "For good: it cannot be undeleted.")
@switch("--ignore-checks", "Even if it is in use.")
@waiting("1h")
@assume_yes
@dry_run
@pass_app
def delete(
    app: App,
    deployment: str,
    hard: bool | None,
    ignore_checks: bool | None,
    wait: bool | None,
    wait_timeout: float,
) -> None:
    """Delete a deployment; it can be undeleted for a while, unless --hard.

    $ firectl deployment delete my-deployment --yes
    """
    from firectl.cli.deployment import rollout

    name = app.client.deployments.full_name(deployment)
    app.confirm(f"Delete {name}?")
    again = rollout.was_deleted(app, name)
    with app.leaving(in_flight.delete(name, hard=bool(hard))):
        app.client.deployments.delete(name, hard=hard, ignore_checks=ignore_checks)
        rollout.follow_delete(app, name, wait, wait_timeout, hard=bool(hard), again=again)


@deployment.verb()
@argument("deployment", type=Named("deleted"))
@waiting("1h", probe=True)
@dry_run
@pass_app
def undelete(app: App, deployment: str, wait: bool | None, wait_timeout: float, no_probe: bool | None) -> None:
    """Bring back a deployment that was deleted, and what was loaded on it.

    $ firectl deployment undelete my-deployment --wait
    """
    from firectl.cli.deployment.rollout import follow_create, say_what_came_back, say_what_is_lost

    name = app.client.deployments.full_name(deployment)
    with app.leaving(in_flight.undelete(app, name)):
        back = app.client.deployments.undelete(name)
        say_what_is_lost(app, back)
        done = follow_create(app, back, wait, wait_timeout, probe=not no_probe)
        if wait:
            say_what_came_back(app, name)
        app.emit(done, tables.DEPLOYMENT)
