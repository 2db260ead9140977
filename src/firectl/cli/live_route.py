"""Whether what a route names is there, ready, loaded and fitting: asks the API, one fact a check. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.errors import ApiError, Code

if TYPE_CHECKING:
    from firectl.client.client import Client
    from firectl.schemas.deployed_model import DeployedModel
    from firectl.schemas.deployment import Deployment
    from firectl.schemas.model import Model

T = TypeVar("T")


class _Checks:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, check: str, ok: bool, message: str, code: str = "FAILED_PRECONDITION") -> None:
        self.rows.append({"check": check, "ok": ok, "code": "OK" if ok else code, "message": message})


def live_checks(client: Client, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the API says of a valid route: rows of check, ok, code (OK, NOT_FOUND or FAILED_PRECONDITION), message."""
    checks = _Checks()
    model = _model(client, checks, report["model"]) if report["model"] else None
    deployment_name = report["deployment"]
    if deployment_name is None and model is not None:
        deployment_name = _default_deployment(checks, model)
    deployment = _deployment(client, checks, deployment_name) if deployment_name else None
    if model is not None and deployment is not None:
        _fit(client, checks, model, deployment)
    return checks.rows


def _found(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except ApiError as error:
        if error.code is Code.NOT_FOUND:
            return None
        raise


def _there(what: str, name: str, found: object) -> str:
    return f"the {what} {name} {'is there' if found else 'does not exist'}"


def _model(client: Client, checks: _Checks, name: str) -> Model | None:
    from firectl.schemas.model import READY

    found = _found(lambda: client.models.get(name))
    checks.add("model_exists", found is not None, _there("model", name, found), "NOT_FOUND")
    if found is None:
        return None
    checks.add("model_ready", found.state == READY, f"the model is {found.state}")
    return found


def _default_deployment(checks: _Checks, model: Model) -> str | None:
    refs = [ref for ref in model.deployed_model_refs or [] if ref.default]
    name = refs[0].deployment if refs else None
    said = f"its default deployment is {name}" if name else "the model is on no deployment by default"
    checks.add("default_deployment", name is not None, said)
    return name


def _deployment(client: Client, checks: _Checks, name: str) -> Deployment | None:
    from firectl.client.deployment import ready_replicas
    from firectl.schemas.deployment import DELETED, READY

    found = _found(lambda: client.deployments.get(name))
    if found is not None and found.state == DELETED:
        found = None
    checks.add("deployment_exists", found is not None, _there("deployment", name, found), "NOT_FOUND")
    if found is None:
        return None
    checks.add("deployment_ready", found.state == READY, f"the deployment is {found.state}")
    count = ready_replicas(found)
    checks.add("replica_ready", count > 0, f"{count} {'replica is' if count == 1 else 'replicas are'} ready")
    return found


def _fit(client: Client, checks: _Checks, model: Model, deployment: Deployment) -> None:
    from firectl.schemas.deployed_model import DEPLOYED
    from firectl.schemas.deployment import is_quantized

    own = deployment.base_model == model.name
    row = None if own else _row(client, model, deployment)
    if own:
        checks.add("loaded", True, "the deployment was created for this model")
    else:
        state = row.state if row else "not loaded"
        checks.add("loaded", state == DEPLOYED, f"the model is {state} on the deployment")
    base = model.peft_details.base_model if model.peft_details else None
    if base is not None and not own:
        checks.add("base_matches", base == deployment.base_model, f"base {base}, deployment of {deployment.base_model}")
        takes = bool(deployment.enable_addons or deployment.enable_hot_reload_latest_addon)
        checks.add("takes_addons", takes, "the deployment takes addons" if takes else "the deployment takes no addons")
        plain = not is_quantized(deployment.precision)
        checks.add("precision_allows_addons", plain, f"precision {deployment.precision or 'of the base'}")


def _row(client: Client, model: Model, deployment: Deployment) -> DeployedModel | None:
    return _found(lambda: client.deployed_models.find(model.name or "", deployment.name or ""))
