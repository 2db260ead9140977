"""Which deployment, engine model and replica does the `model` string of a request mean? If none, why not?

Implements the forms of `model` that docs/routing.md lists for servers. Must not send anything to an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from firectl.errors import ApiError, Code, InputError
from firectl.names import canonical_route, check_route, parse_route
from firectl.schemas.words import DeploymentState, LoadState, Reason
from firectl.server.access.auth import Caller
from firectl.server.lifecycle.hot_reload import merged
from firectl.server.replicas.replica import Replica
from firectl.server.replicas.supervisor import Supervisor
from firectl.server.store import Store, Tx
from firectl.server.store.load_names import engine_name, merged_folder
from firectl.server.store.rows import DeployedModelRow, DeploymentRow
from firectl.server.store.wake_requests import wake

NOT_FOUND = "Model not found, inaccessible, and/or not deployed"
_STARTING_S = 5
"""Retry-After in seconds while a replica starts. Two retries, usual for clients, are enough for a small model."""
_LOADING_S = 1
_KNOWN_LIMIT = 4096

_Found: TypeAlias = tuple[DeploymentRow, DeployedModelRow | None, "RouteTarget"]
"""(deployment, row of the requested addon or None, target)"""


class NoAnswer(ApiError):
    """The route is valid, but no replica of its deployment can answer. `target` is what the route means."""

    target: RouteTarget | None = None


class NotReady(NoAnswer):
    """No replica can answer yet: HTTP 503. The client should retry after `retry_after` seconds."""

    def __init__(self, message: str, reason: str, retry_after: int) -> None:
        super().__init__(Code.UNAVAILABLE, message, reason=reason)
        self.retry_after = retry_after


class Parked(NoAnswer):
    """The deployment is parked, so no request starts a replica: HTTP 412, which clients do not retry."""

    def __init__(self, deployment: str) -> None:
        message = f"{deployment} is parked: its max replica count is 0, and no request starts a replica"
        super().__init__(Code.FAILED_PRECONDITION, message, http_status=412, reason=Reason.DEPLOYMENT_PARKED)


def went_away(deployment: str) -> NotReady:
    return NotReady(f"every replica of {deployment} just went away", Reason.DEPLOYMENT_NOT_READY, _LOADING_S)


@dataclass(frozen=True)
class RouteTarget:
    """A deployment and the `model` that answers on it.

    `adapter` is the engine's name of an adapter; None for the model that the replica was started with, whose name in
    the engine is `served`. `folder` is the one that the replica must have been started with; None for any.
    """

    deployment: str
    model: str
    adapter: str | None
    served: str
    folder: str | None = None

    @property
    def engine_model(self) -> str:
        """Return the `model` field for the request to the engine."""
        return self.adapter or self.served

    @property
    def canonical(self) -> str:
        return canonical_route(self.model, self.deployment)


@dataclass(frozen=True)
class Served:
    """One entry of `/v1/models`: `route` is the `model` string to send, `created` is in Unix seconds."""

    route: str
    created: int
    owner: str


class Router:
    """Resolves the `model` strings that callers send."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self._store = store
        self._supervisor = supervisor
        self._known: dict[tuple[str, Caller], _Found] = {}
        self._known_at = -1

    async def resolve(self, text: str, caller: Caller) -> tuple[RouteTarget, Replica]:
        """Return the target of `text` and the replica that should answer.

        Raises ApiError NOT_FOUND, with the reason, if `text` has no target. Raises Parked if the deployment is parked,
        and NotReady if no replica can answer yet. A deployment that is scaled to zero is woken first.
        """
        row, load, target = await self._find(text, caller)
        replica = self._supervisor.replica_set(row.name).pick(target.adapter, target.folder)
        if replica is not None:
            return target, replica
        asleep = row.desired_replicas == 0 and row.status.code != Code.DATA_LOSS.name
        refusal: NoAnswer = await self._asleep(row) if asleep else self._why_not(row, load)
        refusal.target = target
        raise refusal

    async def served(self, caller: Caller) -> list[Served]:
        """List the `model` strings a caller can send now: canonical routes, and models with a default deployment."""
        found = await asyncio.to_thread(self._served, caller)
        return [served for served, deployment in found if self._supervisor.replica_set(deployment).ready()]

    async def _find(self, text: str, caller: Caller) -> _Found:
        """Look `text` up in the rows. Results are cached until any row changes: most requests need no query."""
        version = self._store.version
        if version != self._known_at or len(self._known) >= _KNOWN_LIMIT:
            self._known, self._known_at = {}, version
        found = self._known.get((text, caller))
        if found is None:
            found = await asyncio.to_thread(self._look_up, text, caller)
            if self._known_at == version:
                self._known[text, caller] = found
        return found

    def _look_up(self, text: str, caller: Caller) -> _Found:
        try:
            route = parse_route(text)
        except InputError as error:
            raise _not_found(_how_to_write(text, caller, error)) from error
        with self._store.read() as tx:
            if route.deployment is None:
                assert route.model is not None
                return self._default(tx, route.model, caller)
            row = _running(_visible(tx, route.deployment, caller))
            if row.is_hot_reload:
                return _hot(tx, row, route.model)
            if route.model is None or route.model == row.model:
                return _own(row)
            return _beside(row, _addon(tx, row, route.model, tx.deployed_models.of_pair(route.model, row.name)))

    def _default(self, tx: Tx, model: str, caller: Caller) -> _Found:
        places = tx.deployed_models.of_model(model)
        chosen = next((load for load in places if load.default and load.state != LoadState.UNDEPLOYING), None)
        if chosen is None:
            raise _not_found(_other_places(tx, model, places, caller))
        row = _running(_visible(tx, chosen.deployment, caller))
        if row.is_hot_reload:
            return _hot(tx, row, model)
        return _own(row) if model == row.model else _beside(row, _addon(tx, row, model, [chosen]))

    async def _asleep(self, row: DeploymentRow) -> NoAnswer:
        if row.resource.max_replica_count == 0:
            return Parked(row.name)
        await asyncio.to_thread(self._wake, row.name)
        self._supervisor.poke()
        return NotReady(
            f"{row.name} is scaled to zero; a replica is starting", Reason.DEPLOYMENT_SCALING_UP, _STARTING_S
        )

    def _wake(self, deployment: str) -> None:
        with self._store.begin() as tx:
            wake(tx, deployment, self._supervisor.max_replicas, self._supervisor.now())

    def _why_not(self, row: DeploymentRow, load: DeployedModelRow | None) -> NotReady:
        replicas = self._supervisor.replica_set(row.name)
        if replicas.ready():
            if load is None:
                return went_away(row.name)
            doing = load.status.message or "loading adapter"
            message = f"{load.model} is not loaded on {row.name} yet: {doing}"
            return NotReady(message, Reason.DEPLOYMENT_NOT_READY, _LOADING_S)
        healthy = row.status.code in (None, "OK") and replicas.trouble is None
        if healthy and row.state == DeploymentState.UPDATING:
            return NotReady(f"{row.name} is starting a replica", Reason.DEPLOYMENT_SCALING_UP, _STARTING_S)
        doing = row.status.message or "starting replica"
        return NotReady(f"{row.name} is not ready yet: {doing}", Reason.DEPLOYMENT_NOT_READY, _STARTING_S)

    def _served(self, caller: Caller) -> list[tuple[Served, str]]:
        with self._store.read() as tx:
            rows = {row.name: row for row in tx.deployments.active() if caller.may_use(row.account)}
            places = [load for load in tx.deployed_models.all() if load.deployment in rows]
        found: dict[str, tuple[Served, str]] = {}
        for row in rows.values():
            here = [load for load in places if load.deployment == row.name and load.state == LoadState.DEPLOYED]
            if row.is_hot_reload and merged(row, here) is not None:
                here = [load for load in here if load.model != row.model]
                pairs = []
            else:
                pairs = [(row.model, row.create_time, False)]
            pairs += [(load.model, load.create_time, load.default) for load in here]
            for model, since, default in pairs:
                owner = model.split("/")[1]
                for route in (canonical_route(model, row.name), *([model] if default else [])):
                    found.setdefault(route, (Served(route, int(since.timestamp()), owner), row.name))
        return list(found.values())


def _own(row: DeploymentRow) -> _Found:
    return row, None, RouteTarget(row.name, row.model, None, row.model)


def _beside(row: DeploymentRow, load: DeployedModelRow) -> _Found:
    adapter = engine_name(load.model, load.model_hash or "")
    return row, load, RouteTarget(row.name, load.model, adapter, row.model)


def _hot(tx: Tx, row: DeploymentRow, model: str | None) -> _Found:
    """Find the target on a hot-reload deployment. Without `model`, the target is the model that answers now."""
    rows = tx.deployed_models.of_deployment(row.name)
    answering = merged(row, rows)
    if model is None:
        return row, None, RouteTarget(row.name, answering.model if answering else row.model, None, row.model)
    base = tx.models.get(row.base)
    if base is None:
        raise _not_found(f"the base model {row.base} is gone")
    if model != row.model:
        load = _addon(tx, row, model, [load for load in rows if load.model == model])
        return row, load, RouteTarget(row.name, model, None, row.model, merged_folder(base, load))
    if answering is not None:
        raise _not_found(
            f"{answering.model} is merged into {row.model} on {row.name} and answers there: send {row.name}, "
            f"or unload it to get the base back"
        )
    return row, None, RouteTarget(row.name, model, None, row.model, base.folder)


def _visible(tx: Tx, deployment: str, caller: Caller) -> DeploymentRow:
    row = tx.deployments.get(deployment)
    if row is None or not caller.may_use(row.account):
        raise _not_found(f"there is no deployment {deployment}, or this key may not use it")
    return row


def _running(row: DeploymentRow) -> DeploymentRow:
    if row.state == DeploymentState.FAILED:
        raise _not_found(f"{row.name} is FAILED: {row.status.message}")
    if row.state in (DeploymentState.DELETING, DeploymentState.DELETED):
        raise _not_found(f"{row.name} is {row.state}")
    return row


def _addon(tx: Tx, row: DeploymentRow, model: str, places: Sequence[DeployedModelRow]) -> DeployedModelRow:
    """Return the newest of the deployed models in `places` that is not UNDEPLOYING.

    Raises ApiError NOT_FOUND, with the reason, if there is none.
    """
    for load in reversed(places):
        if load.state != LoadState.UNDEPLOYING:
            return load
    name = row.name.rsplit("/", 1)[1]
    if places:
        raise _not_found(f"{model} is no longer on {row.name}: {places[-1].status.message or 'it was unloaded'}")
    if tx.models.get(model) is None:
        raise _not_found(f"there is no model {model}")
    if row.is_live_merge:
        raise _not_found(f"{row.name} serves {row.model} alone, merged: send {canonical_route(row.model, row.name)}")
    if row.is_hot_reload:
        how = f"firectl load-lora {model} --deployment {name} --replace-merged-addon"
        raise _not_found(f"{model} is not merged into {row.name}: {how}")
    if not row.resource.enable_addons:
        raise _not_found(f"{row.name} serves {row.model} alone: it was created without addons")
    raise _not_found(f"{model} is not loaded on {row.name}: firectl load-lora {model} --deployment {name}")


def _other_places(tx: Tx, model: str, places: Iterable[DeployedModelRow], caller: Caller) -> str:
    routes = [
        canonical_route(model, load.deployment)
        for load in places
        if load.state != LoadState.UNDEPLOYING and caller.may_use(load.account)
    ]
    if routes:
        return f"{model} has no default deployment: send {' or '.join(routes)}"
    return f"{model} is deployed nowhere" if tx.models.get(model) else f"there is no model {model}"


def _how_to_write(text: str, caller: Caller, error: InputError) -> str:
    report = check_route(text, caller.account.removeprefix("accounts/"))
    if report.canonical is not None:
        return f"servers take full names alone: send {report.canonical}"
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _not_found(why: str) -> ApiError:
    return ApiError(Code.NOT_FOUND, NOT_FOUND, hint=why)
