"""What follows a create or a load: the wait, the proof that it serves, and the route to send requests to.

Sends only reads and probes; prints only on stderr.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from firectl.cli import in_flight
from firectl.cli.app import App
from firectl.cli.views import tables
from firectl.names import canonical_route

if TYPE_CHECKING:
    from firectl.client.resource import Resource
    from firectl.errors import ApiError
    from firectl.schemas.base import Wire
    from firectl.schemas.deployed_model import DeployedModel
    from firectl.schemas.deployment import Deployment
    from firectl.schemas.model import Model

W = TypeVar("W", bound="Wire")


@contextmanager
def _watched(
    app: App, resources: Resource[W], doing: str, name: str, left: str
) -> Iterator[tuple[Callable[[W], None], Callable[[str], None]]]:
    """Around a wait: what it calls with each change, and what says anything else of `name`.

    `left` is what an interrupted command says.
    """
    with app.leaving(left), app.progress.steps(f"{doing} {name}") as steps:
        yield lambda now: steps.say(f"{name}: {resources.describe(now)}"), steps.say


def require_adapter(app: App, model: str) -> None:
    """InputError where a base is to be loaded. Where nobody knows, the load itself has the word."""
    from firectl.errors import ApiError, Code, InputError
    from firectl.schemas.words import ModelKind

    try:
        found = app.client.models.get(model)
    except ApiError as error:
        if error.code in (Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED):
            return
        raise
    if found.kind == ModelKind.BASE:
        raise InputError(
            f"{found.name} is a base model, not an adapter: only adapters are loaded onto a deployment",
            hint="firectl model list --filter 'kind = HF_PEFT_ADDON'",
        )


def follow_create(app: App, made: Deployment, wait: bool | None, timeout: float, *, probe: bool) -> Deployment:
    """Says where to send requests, and waits if asked; the deployment as it is then."""
    name = made.name or ""
    done = await_deployment(app, made, timeout, probe) if wait else made
    if made.base_model:
        app.output.note(f"Route: {canonical_route(made.base_model, name)}")
    if not wait:
        app.output.note(f"It is being created. To see how far it is: firectl deployment get {name}")
    return done


def follow_load(app: App, row: DeployedModel, wait: bool | None, timeout: float, *, probe: bool) -> DeployedModel:
    """The same for a LoRA that was loaded."""
    from firectl.schemas.words import LoadState

    if row.state == LoadState.DEPLOYED:
        app.output.note(f"{row.model} is loaded already on {row.deployment}")
    way = load_route(app, row)
    done = await_loaded(app, row, timeout, way if probe else None) if wait else row
    app.output.note(f"Route: {way[0]}")
    if not wait and done.state == LoadState.DEPLOYING:
        app.output.note(f"It is being loaded. To see how far it is: firectl deployed-model get {row.name}")
    return done


def say_what_is_lost(app: App, back: Deployment) -> None:
    """What did not come back with an undelete, as the server says it."""
    said = back.status.message if back.status else None
    if said and said != "undeleted":
        app.output.warn(f"{back.name}: {said}")


def say_what_came_back(app: App, name: str) -> None:
    """The adapters on a deployment that was brought back. Best effort: it is back without this too."""
    from firectl.errors import ApiError

    try:
        rows = list(app.client.deployed_models.list(filter=f'deployment = "{name}"'))
    except ApiError:
        return
    for row in rows:
        if row.deployment == name:
            app.output.note(f"Loaded again: {row.model}, which is {row.state}")


def was_deleted(app: App, name: str) -> bool:
    """Whether a deployment is DELETED already, so that deleting it is no news."""
    from firectl.errors import ApiError, Code
    from firectl.schemas.words import DeploymentState

    try:
        return app.client.deployments.get(name).state == DeploymentState.DELETED
    except ApiError as error:
        if error.code is Code.NOT_FOUND:
            return False  # the delete itself says so
        raise


def follow_delete(app: App, name: str, wait: bool | None, timeout: float, *, hard: bool, again: bool) -> None:
    """Waits if asked, and says what became of it; `again`: it was deleted before this."""
    if wait:
        left = f"{name} goes on being deleted without you. To see: firectl deployment get {name}"
        with _watched(app, app.client.deployments, "deleting", name, left) as (on_change, _):
            app.client.deployments.wait_deleted(name, timeout, on_change=on_change)
    if again and not hard:
        said = f"{name} was deleted already"
    else:
        said = f"Deleted {name} for good" if hard else f"Deleted {name}"
    app.emit_deleted(said, lambda: app.client.deployments.left_of(name), tables.DEPLOYMENT)
    if not hard:
        app.output.note(f"To bring it back: firectl deployment undelete {name}")


def follow_prepare(app: App, name: str, wait: bool | None, timeout: float) -> Model:
    """The model as it is, or once it is READY if asked to wait; says where there is nothing to prepare."""
    if not app.is_hosted:
        app.output.note(
            "Nothing to prepare: the local platform serves weights in the precision that they are stored in, "
            "and a LoRA in that of its base"
        )
    if not wait:
        return app.client.models.get(name)
    left = f"{name} goes on being prepared without you. To see how far: firectl model get {name}"
    with _watched(app, app.client.models, "preparing", name, left) as (on_change, _):
        return app.client.models.wait(name, timeout, on_change=on_change)


def follow_unload(app: App, row: DeployedModel, wait: bool | None, timeout: float) -> None:
    if wait:
        see = f"firectl deployed-model get {row.name}"
        left = f"{row.model} goes on being unloaded without you. To see whether it is gone: {see}"
        with _watched(app, app.client.deployed_models, "unloading", row.model or "", left) as (on_change, _):
            app.client.deployed_models.wait_unloaded(row.name or "", timeout, on_change=on_change)
    said = f"Unloaded {row.model} from {row.deployment}"
    app.emit_deleted(said, lambda: app.client.deployed_models.left_of(row.name or ""), tables.DEPLOYED_MODEL)


def follow_scale(app: App, name: str, count: int, wait: bool | None, timeout: float, *, probe: bool) -> Deployment:
    """The deployment as it is, or once so many replicas are ready, if asked to wait."""
    if not wait:
        return app.client.deployments.get(name)
    end = time.monotonic() + timeout
    left = f"{name} goes on scaling to {count} without you{in_flight.stop_scaling(app, name, count)}"
    with _watched(app, app.client.deployments, "scaling", name, left) as (on_change, say):
        scaled = app.client.deployments.wait(name, timeout, replicas=count, on_change=on_change)
        if probe:
            _prove_deployment(app, scaled, end, say)
    return scaled


def await_deployment(app: App, made: Deployment, timeout: float, probe: bool) -> Deployment:
    """The deployment once READY and, with `probe`, seen to answer. `timeout` in seconds is for all of it."""
    name, end = made.name or "", time.monotonic() + timeout
    left = f"{name} goes on without you{in_flight.bills(app)}. To stop it: firectl deployment delete {name}"
    with _watched(app, app.client.deployments, "waiting for", name, left) as (on_change, say):
        ready = app.client.deployments.wait(name, timeout, on_change=on_change)
        if probe:
            _prove_deployment(app, ready, end, say)
    return ready


def await_loaded(app: App, row: DeployedModel, timeout: float, way: tuple[str, str | None] | None) -> DeployedModel:
    """The deployed model once DEPLOYED and, where `way` is what `load_route` found, shown to differ from its base."""
    name, end, model = row.name or "", time.monotonic() + timeout, row.model or ""
    unload = f"firectl unload-lora {model} --deployment {row.deployment or ''}"
    left = f"{model} goes on loading without you. To undo it: {unload}"
    with _watched(app, app.client.deployed_models, "loading", model, left) as (on_change, say):
        loaded = app.client.deployed_models.wait(name, timeout, on_change=on_change)
        if way is not None:
            _prove(app, *way, end, say, lambda: True, merged=model, undo=unload)
    return loaded


def load_route(app: App, row: DeployedModel) -> tuple[str, str | None]:
    """(the route to a loaded model, the route to the base beside it or None where it is merged into it)."""
    model, deployment = row.model or "", row.deployment or ""
    there = app.client.deployments.get(deployment)
    if there.enable_hot_reload_latest_addon:
        return deployment, None
    return canonical_route(model, deployment), None if there.base_model == model else deployment


def _prove_deployment(app: App, ready: Deployment, end: float, say: Callable[[str], None]) -> None:
    """Where it has replicas, a request to what it was created for."""
    from firectl.client.deployment import wants_replicas
    from firectl.schemas.words import ModelKind

    if (model := ready.base_model) and wants_replicas(ready):
        route = canonical_route(model, ready.name or "")
        delete = f"firectl deployment delete {ready.name}"

        def is_adapter() -> bool:
            return not ready.enable_addons and app.client.models.get(model).kind == ModelKind.ADDON

        _prove(app, route, None, end, say, is_adapter, undo=delete)


def _prove(
    app: App,
    route: str,
    base: str | None,
    end: float,
    say: Callable[[str], None],
    is_adapter: Callable[[], bool],
    *,
    merged: str | None = None,
    undo: str,
) -> None:
    """`is_adapter` is asked only where nothing proves that the route is an adapter's."""
    from firectl.client.proof import prove_serving

    def on_wait(error: ApiError) -> None:
        say(f"not yet: {error.message}")

    seconds = max(1.0, end - time.monotonic())
    proof = prove_serving(
        app.client, route, adapter_of=base, merged=merged, timeout=seconds, undo=undo, on_wait=on_wait
    )
    proven = proof.kind != "answered_only" or is_adapter()
    app.output.note(f"Proof: {proof.detail}" if proven else "Proof: it answers")
