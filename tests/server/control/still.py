"""Calls of control on a platform that runs nothing: what a call writes stays to be seen. See the fixture `still`."""

from __future__ import annotations

from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.server.access.auth import Caller
from firectl.server.control.deployments import deployments, loading
from firectl.server.control.deployments.deployments import CreateOptions
from firectl.server.control.patch import Patch
from firectl.server.platform import Platform
from firectl.server.store.rows import DeploymentRow

ME = "accounts/me"
CALLER = Caller(ME, f"{ME}/users/owner")
D = f"{ME}/deployments/d"


def create(platform: Platform, deployment_id: str = "d", /, **fields: object) -> Deployment:
    body = Deployment.model_validate({"baseModel": "base", **fields})
    return deployments.create(platform, CALLER, ME, body, CreateOptions(deployment_id=deployment_id))


def update(platform: Platform, **fields: object) -> Deployment:
    body = Deployment.model_validate(fields)
    return deployments.update(platform, CALLER, D, Patch(body, fields))


def row(platform: Platform, name: str = D) -> DeploymentRow:
    with platform.store.read() as tx:
        found = tx.deployments.get(name)
    assert found is not None
    return found


def load(platform: Platform, model: str, deployment: str = "d") -> DeployedModel:
    body = DeployedModel(model=model, deployment=deployment)
    return loading.load(platform, CALLER, ME, body, replace=False)
