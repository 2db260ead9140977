"""`firectl load-lora` and `unload-lora`: adapters on a running deployment. Also verbs of `model`."""

from __future__ import annotations

from firectl.cli import in_flight
from firectl.cli.app import App
from firectl.cli.deployment.rollout import follow_load, follow_unload, require_adapter
from firectl.cli.grammar.params import argument, dry_run, option, switch
from firectl.cli.grammar.syntax import verb
from firectl.cli.grammar.types import Named
from firectl.cli.grammar.waiting import Waiting, waiting
from firectl.cli.views import tables


@verb()
@argument("model", type=Named("model"))
@option("--deployment", required=True, type=Named("deployment"), help="The deployment to load it onto.")
@switch("--public", "Let other accounts send requests to it.")
@switch("--replace-merged-addon", "Hot reload: merge it in place of the one merged now.")
@waiting("30m", probe=True)
@dry_run
def load_lora(
    app: App,
    model: str,
    deployment: str,
    public: bool | None,
    replace_merged_addon: bool | None,
    wait: Waiting | None,
) -> None:
    """Load a LoRA onto a deployment that takes addons.

    With --wait, its answers are compared with the base's: a LoRA that changes nothing is an error.

    $ firectl load-lora my-lora --deployment my-deployment --wait
    """
    require_adapter(app, model)
    names = app.client.models.full_name(model), app.client.deployments.full_name(deployment)
    with app.leaving(in_flight.load(*names)):
        row = app.client.deployed_models.load(*names, public=public, replace_merged_addon=replace_merged_addon)
        app.emit(follow_load(app, row, wait), tables.DEPLOYED_MODEL)


@verb()
@argument("model", type=Named("model"))
@option("--deployment", required=True, type=Named("deployment"), help="The deployment to take it off.")
@waiting("30m")
@dry_run
def unload_lora(app: App, model: str, deployment: str, wait: Waiting | None) -> None:
    """Take a LoRA off a deployment.

    $ firectl unload-lora my-lora --deployment my-deployment --wait
    """
    names = app.client.models.full_name(model), app.client.deployments.full_name(deployment)
    with app.leaving(in_flight.unload(*names)):
        follow_unload(app, app.client.deployed_models.unload(*names), wait)
