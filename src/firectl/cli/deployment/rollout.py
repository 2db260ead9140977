"""Finish a command that changed a resource: wait, prove that requests are answered, and show the route for requests.

Sends only reads and probes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli import in_flight
from firectl.cli.app import App
from firectl.cli.grammar.waiting import Waiting
from firectl.cli.views import tables
from firectl.errors import ApiError, Code, InputError
from firectl.names import canonical_route
from firectl.schemas.words import DeploymentState, LoadState, ModelKind

if TYPE_CHECKING:
    from firectl.client.proof import Proof
    from firectl.client.resource import Resource
    from firectl.schemas.base import Wire
    from firectl.schemas.deployed_model import DeployedModel
    from firectl.schemas.deployment import Deployment
    from firectl.schemas.model import Model

W = TypeVar("W", bound="Wire")


@contextmanager
def _watched(
    app: App, resources: Resource[W], doing: str, name: str, left: str
) -> Iterator[tuple[Callable[[W], None], Callable[[str], None]]]:
    """Show a wait. Yield (a callback for each change, a function that shows a line). `left`: shown on interrupt."""
    with app.leaving(left), app.progress.steps(f"{doing} {name}") as steps:
        yield lambda now: steps.say(f"{name}: {resources.describe(now)}"), steps.say


def require_adapter(app: App, model: str) -> None:
    """Raise InputError if `model` is a base model. If the model cannot be read, leave the error to the load."""
    try:
        found = app.client.models.get(model)
    except ApiError as error:
        if error.code in (Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED):
            return
        raise
    if found.kind == ModelKind.BASE:
        raise InputError(
            f"{found.name} is a base model: expected an adapter to load onto the deployment",
            hint="firectl model list --filter 'kind = HF_PEFT_ADDON'",
        )


def follow_create(app: App, made: Deployment, wait: Waiting | None) -> Deployment:
    """Wait for the deployment if `wait` is given, then note its route. Return the deployment as last seen."""
    name = made.name or ""
    done = await_deployment(app, made, wait) if wait else made
    if made.base_model:
        app.output.note(f"Route: {canonical_route(made.base_model, name)}")
    if not wait:
        app.output.note(f"It is being created. To see how far it is: firectl deployment get {name}")
    return done


def follow_load(app: App, row: DeployedModel, wait: Waiting | None) -> DeployedModel:
    """Wait for the load of a LoRA if `wait` is given, then note its route. Return the deployed model as last seen."""
    if row.state == LoadState.DEPLOYED:
        app.output.note(f"{row.model} is already loaded on {row.deployment}")
    way = load_route(app, row)
    done = await_loaded(app, row, wait, way) if wait else row
    app.output.note(f"Route: {way[0]}")
    if not wait and done.state == LoadState.DEPLOYING:
        app.output.note(f"It is being loaded. To see how far it is: firectl deployed-model get {row.name}")
    return done


def follow_undelete(app: App, back: Deployment, wait: Waiting | None) -> Deployment:
    """Do what `follow_create` does. Also report what was not restored, and which models are loaded again."""
    said = back.status.message if back.status else None
    if said and said != "undeleted":
        app.output.warn(f"{back.name}: {said}")
    done = follow_create(app, back, wait)
    if wait:
        # Ignore an error here: the deployment is restored even if its adapters cannot be listed.
        with suppress(ApiError):
            for row in app.client.deployed_models.list(filter=f'deployment = "{back.name}"'):
                if row.deployment == back.name:
                    app.output.note(f"Loaded again: {row.model}, which is {row.state}")
    return done


def was_deleted(app: App, name: str) -> bool:
    """Whether a deployment is already DELETED."""
    try:
        return app.client.deployments.get(name).state == DeploymentState.DELETED
    except ApiError as error:
        if error.code is Code.NOT_FOUND:
            return False  # The delete itself will report that the deployment does not exist.
        raise


def follow_delete(app: App, name: str, wait: Waiting | None, *, hard: bool, again: bool) -> None:
    """Wait if `wait` is given, then show the result. `again`: the deployment was deleted before this command."""
    if wait:
        left = f"{name} is still being deleted. To see: firectl deployment get {name}"
        with _watched(app, app.client.deployments, "deleting", name, left) as (on_change, _):
            app.client.deployments.wait_deleted(name, wait.seconds, on_change=on_change)
    if again and not hard:
        said = f"{name} was already deleted"
    else:
        said = f"Deleted {name} permanently" if hard else f"Deleted {name}"
    app.emit_deleted(said, lambda: app.client.deployments.left_of(name), tables.DEPLOYMENT)
    if not hard:
        app.output.note(f"To bring it back: firectl deployment undelete {name}")


def follow_prepare(app: App, name: str, wait: Waiting | None) -> Model:
    """Return the model, and first wait for READY if `wait` is given. Note that a local platform prepares nothing."""
    if not app.is_hosted:
        app.output.note(
            "Nothing to prepare: the local platform serves weights in their stored precision, and a LoRA in its base's"
        )
    if not wait:
        return app.client.models.get(name)
    left = f"{name} is still being prepared. To see: firectl model get {name}"
    with _watched(app, app.client.models, "preparing", name, left) as (on_change, _):
        return app.client.models.wait(name, wait.seconds, on_change=on_change)


def follow_unload(app: App, row: DeployedModel, wait: Waiting | None) -> None:
    if wait:
        see = f"firectl deployed-model get {row.name}"
        left = f"{row.model} is still being unloaded. To see whether it is gone: {see}"
        with _watched(app, app.client.deployed_models, "unloading", row.model or "", left) as (on_change, _):
            app.client.deployed_models.wait_unloaded(row.name or "", wait.seconds, on_change=on_change)
    said = f"Unloaded {row.model} from {row.deployment}"
    app.emit_deleted(said, lambda: app.client.deployed_models.left_of(row.name or ""), tables.DEPLOYED_MODEL)


def follow_scale(app: App, name: str, count: int, wait: Waiting | None) -> Deployment:
    """Return the deployment. If `wait` is given, first wait until `count` replicas are ready."""
    if not wait:
        return app.client.deployments.get(name)
    end = time.monotonic() + wait.seconds
    left = f"{name} is still scaling to {count}{in_flight.stop_scaling(app, name, count)}"
    with _watched(app, app.client.deployments, "scaling", name, left) as (on_change, say):
        scaled = app.client.deployments.wait(name, wait.seconds, replicas=count, on_change=on_change)
        if wait.probe:
            _prove_deployment(app, scaled, end, say)
    return scaled


def await_deployment(app: App, made: Deployment, wait: Waiting) -> Deployment:
    """Wait until the deployment is READY and, if `wait.probe`, until it answers a request. Return the deployment."""
    name, end = made.name or "", time.monotonic() + wait.seconds
    left = f"{name} keeps running{in_flight.bills(app)}. To stop it: firectl deployment delete {name}"
    with _watched(app, app.client.deployments, "waiting for", name, left) as (on_change, say):
        ready = app.client.deployments.wait(name, wait.seconds, on_change=on_change)
        if wait.probe:
            _prove_deployment(app, ready, end, say)
    return ready


def await_loaded(app: App, row: DeployedModel, wait: Waiting, way: tuple[str, str | None]) -> DeployedModel:
    """Wait until the model is DEPLOYED and, if `wait.probe`, prove that it serves. `way`: the result of load_route."""
    name, end, model = row.name or "", time.monotonic() + wait.seconds, row.model or ""
    unload = f"firectl unload-lora {model} --deployment {row.deployment or ''}"
    left = f"{model} is still loading. To undo it: {unload}"
    with _watched(app, app.client.deployed_models, "loading", model, left) as (on_change, say):
        loaded = app.client.deployed_models.wait(name, wait.seconds, on_change=on_change)
        if wait.probe:
            route, base = way
            proof = _prove(app, route, end, say, adapter_of=base, merged=model, undo=unload)
            app.output.note(f"Proof: {proof.detail}")
    return loaded


def load_route(app: App, row: DeployedModel) -> tuple[str, str | None]:
    """Return the routes to a loaded model and to its base. The second is None if the base is not served too."""
    model, deployment = row.model or "", row.deployment or ""
    there = app.client.deployments.get(deployment)
    if there.enable_hot_reload_latest_addon:
        return deployment, None
    return canonical_route(model, deployment), None if there.base_model == model else deployment


def _prove_deployment(app: App, ready: Deployment, end: float, say: Callable[[str], None]) -> None:
    """Prove that the deployment's own model answers a request. Skip the proof if the deployment needs no replicas."""
    from firectl.client.deployment import wants_replicas

    model = ready.base_model
    if not model or not wants_replicas(ready):
        return
    route = canonical_route(model, ready.name or "")
    proof = _prove(app, route, end, say, undo=f"firectl deployment delete {ready.name}")
    # For a base model, the only possible proof is that it answers.
    is_base = proof.kind == "answered_only" and (
        ready.enable_addons or app.client.models.get(model).kind != ModelKind.ADDON
    )
    app.output.note("Proof: it answers" if is_base else f"Proof: {proof.detail}")


def _prove(app: App, route: str, end: float, say: Callable[[str], None], **how: Any) -> Proof:
    """Prove that `route` serves, before the time `end`. `how`: further arguments of prove_serving."""
    from firectl.client.proof import prove_serving

    left = max(1.0, end - time.monotonic())
    return prove_serving(app.client, route, timeout=left, on_wait=lambda error: say(f"not yet: {error.message}"), **how)
