"""Check a route against the API: whether its model and deployment exist, are ready, loaded and compatible.

Each check tests one fact, and a failed check says what to do. Sends only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli.output.counted import counted
from firectl.cli.views.listing import list_command
from firectl.errors import ApiError, Code
from firectl.names import canonical_route, check_route, is_id
from firectl.schemas.words import DeploymentState, LoadState, ModelState, is_quantized

if TYPE_CHECKING:
    from firectl.client.client import Client
    from firectl.schemas.deployed_model import DeployedModel
    from firectl.schemas.deployment import Deployment
    from firectl.schemas.model import Model

T = TypeVar("T")

FITTING = ("base_matches", "takes_addons", "precision_allows_addons")
"""The checks that decide whether the deployment can load the model."""


class _Checks:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.rows: list[dict[str, Any]] = []

    def add(self, check: str, ok: bool, message: str, todo: str, code: str = "FAILED_PRECONDITION") -> None:
        row = {"check": check, "ok": ok, "code": "OK" if ok else code, "message": message}
        self.rows.append(row if ok else {**row, "hint": todo})


def live_checks(client: Client, report: Mapping[str, Any], typed: str | None = None) -> list[dict[str, Any]]:
    """Return rows of check, ok, code (OK, NOT_FOUND or FAILED_PRECONDITION), message, and a hint if not ok.

    `report`: the report of names.check_route on a valid route. `typed`: the route as the user typed it.
    """
    checks = _Checks(client)
    model = _model(checks, report["model"], typed) if report["model"] else None
    deployment_name = report["deployment"]
    if deployment_name is None and model is not None:
        deployment_name = _default_deployment(checks, model)
    deployment = _deployment(checks, deployment_name, report["canonical"]) if deployment_name else None
    if model is not None and deployment is not None:
        _fit(checks, model, deployment)
    return checks.rows


def instead(client: Client, typed: str, route: str) -> str | None:
    """Explain a NOT_FOUND answer: say what is missing, or that `typed` is the ID of a deployment, and what to do.

    Return None if no cause is found.
    """
    deployment = meant(client, typed)
    if deployment is not None and deployment.state == DeploymentState.DELETED:
        return f"the deployment {typed} was deleted; to bring it back: firectl deployment undelete {typed} --wait"
    if deployment is not None:
        return f"an ID alone names a model; for the deployment with that ID: firectl chat {deployment.name} MESSAGE"
    try:
        rows = live_checks(client, check_route(route).to_document(), typed)
    except ApiError:
        return None
    missing = [f"{row['message']}: {row['hint']}" for row in rows if row["code"] == Code.NOT_FOUND.name]
    return "; ".join(missing) or None


def misfit(client: Client, model: str, deployment: str) -> str | None:
    """Explain why a deployment cannot load a model, and what to do. None if no check fails."""
    route = canonical_route(client.models.full_name(model), client.deployments.full_name(deployment))
    rows = live_checks(client, check_route(route).to_document())
    row = next((row for row in rows if row["check"] in FITTING and not row["ok"]), None)
    return f"{row['message']}: {row['hint']}" if row is not None else None


def meant(client: Client, typed: str | None) -> Deployment | None:
    """Return the deployment whose ID is `typed`. None if there is none, or if `typed` is not an ID."""
    if typed is None or not is_id(typed):
        return None
    try:
        return client.deployments.get(typed, max_retries=0)
    except ApiError:
        return None


def _meant_instead(client: Client, name: str) -> str:
    """Return a hint for a missing name: a similar name, if any, and the command that lists all names."""
    from firectl.cli.lookup.nearest import did_you_mean

    all_of_them = list_command(name, client.account_id)
    near = did_you_mean(client, [name])
    return f"{near} To list all: {all_of_them}" if near else all_of_them


def _as_pair(client: Client, typed: str | None) -> str | None:
    """Return the route `MODEL#DEPLOYMENT` if `typed` is `MODEL/DEPLOYMENT` and that deployment exists, else None."""
    model, slash, deployment = (typed or "").partition("/")
    there = meant(client, deployment) if slash and is_id(model) else None
    return f"{model}#{deployment}" if there is not None else None


def _found(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except ApiError as error:
        if error.code is Code.NOT_FOUND:
            return None
        raise


def _there(what: str, name: str, found: object) -> str:
    return f"the {what} {name} {'is there' if found else 'does not exist'}"


def _model(checks: _Checks, name: str, typed: str | None) -> Model | None:
    found = _found(lambda: checks.client.models.get(name))
    todo = ""
    if found is None and (deployment := meant(checks.client, typed)) is not None:
        todo = f"an ID alone names a model; for the deployment with that ID write {deployment.name}"
    elif found is None and (route := _as_pair(checks.client, typed)) is not None:
        todo = f"an ID after a slash is in another account; for a model on a deployment write {route}"
    elif found is None:
        todo = _meant_instead(checks.client, name)
    checks.add("model_exists", found is not None, _there("model", name, found), todo, "NOT_FOUND")
    if found is None:
        return None
    state = f"the model is {found.state}"
    todo = f"firectl model upload {name} DIR"
    if (account := name.split("/")[1]) != checks.client.account:
        todo = f"only the account {account} can upload it; to see its state: firectl model get {name}"
    checks.add("model_ready", found.state == ModelState.READY, state, todo)
    return found


def _default_deployment(checks: _Checks, model: Model) -> str | None:
    refs = [ref for ref in model.deployed_model_refs or [] if ref.default]
    name = refs[0].deployment if refs else None
    said = f"its default deployment is {name}" if name else "the model has no default deployment"
    todo = f"firectl deployment create {model.name} --wait"
    others = [ref for ref in model.deployed_model_refs or [] if ref.deployment]
    if others:
        todo = f"name a deployment that has it: {canonical_route(model.name or '', others[0].deployment or '')}"
    checks.add("default_deployment", name is not None, said, todo)
    return name


def _deployment(checks: _Checks, name: str, route: str) -> Deployment | None:
    from firectl.client.deployment import ready_replicas, wants_replicas

    found = _found(lambda: checks.client.deployments.get(name))
    todo = _meant_instead(checks.client, name) if found is None else ""
    said = _there("deployment", name, found)
    if found is not None and found.state == DeploymentState.DELETED:
        found, said, todo = None, f"the deployment {name} is deleted", f"firectl deployment undelete {name} --wait"
    checks.add("deployment_exists", found is not None, said, todo, "NOT_FOUND")
    if found is None:
        return None
    look = f"firectl deployment get {name}"
    checks.add("deployment_ready", found.state == DeploymentState.READY, f"the deployment is {found.state}", look)
    count = ready_replicas(found)
    todo = look
    if found.max_replica_count == 0:
        todo = f"it is parked: firectl deployment update {name} --max-replica-count 1"
    elif not wants_replicas(found):
        todo = f"a request starts one: firectl chat '{route}' 'Hello!'"
    checks.add("replica_ready", count > 0, f"{counted(count, 'replica', 'is', 'are')} ready", todo)
    return found


def _fit(checks: _Checks, model: Model, deployment: Deployment) -> None:
    own = deployment.base_model == model.name
    base = model.peft_details.base_model if model.peft_details else None
    takes = bool(deployment.enable_addons or deployment.enable_hot_reload_latest_addon)
    plain = not is_quantized(deployment.precision)
    row = None if own else _row(checks.client, model, deployment)
    if own:
        checks.add("loaded", True, "the deployment was created for this model", "")
    else:
        state = row.state if row else "not loaded"
        todo = f"firectl deployment create {model.name} --wait"
        if row:
            todo = f"firectl deployed-model get {row.name}"
        elif base is not None and base == deployment.base_model and takes and plain:
            todo = f"firectl load-lora {model.name} --deployment {deployment.name} --wait"
        checks.add("loaded", state == LoadState.DEPLOYED, f"the model is {state} on the deployment", todo)
    if base is None or own:
        return
    another = f"firectl deployment create {base} --enable-addons --wait"
    said = f"base {base}, deployment of {deployment.base_model}"
    checks.add("base_matches", base == deployment.base_model, said, another)
    said = "the deployment takes addons" if takes else "the deployment takes no addons"
    checks.add("takes_addons", takes, said, another)
    said = f"precision {deployment.precision or 'of the base'}"
    checks.add("precision_allows_addons", plain, said, f"{another} --precision BF16")


def _row(client: Client, model: Model, deployment: Deployment) -> DeployedModel | None:
    return _found(lambda: client.deployed_models.find(model.name or "", deployment.name or ""))
