"""The platform itself over HTTP: is it there, what does it hold, end it.

Also what it knows of the API and does not do: refused with UNIMPLEMENTED and a reason.
"""

from __future__ import annotations

import os
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from firectl import __version__
from firectl.errors import ApiError, Code
from firectl.schemas.words import DeploymentState
from firectl.server.doors.call import Call, Door, route
from firectl.server.platform import Platform

_ACCOUNT = "/v1/accounts/{account:id}"
_METHODS = ("GET", "POST", "PATCH", "DELETE")
NOT_DONE = {
    "datasets": "datasets are for fine-tuning and batch jobs, which run on the hosted service",
    "supervisedFineTuningJobs": "fine-tuning runs on the hosted service",
    "reinforcementFineTuningJobs": "fine-tuning runs on the hosted service",
    "reinforcementFineTuningSteps": "fine-tuning runs on the hosted service",
    "rlorTrainerJobs": "fine-tuning runs on the hosted service",
    "dpoJobs": "fine-tuning runs on the hosted service",
    "batchInferenceJobs": "batch inference runs on the hosted service; send requests to a deployment instead",
    "batchJobs": "batch jobs run on the hosted service",
    "evaluators": "evaluations run on the hosted service",
    "evaluationJobs": "evaluations run on the hosted service",
    "secrets": "secrets are kept by the hosted service",
    "clusters": "clusters belong to the hosted service",
    "environments": "environments belong to the hosted service",
    "snapshots": "snapshots belong to the hosted service",
    "quotas": "there are no quotas here; the platform's limits are flags of firectl local up",
    "deploymentTemplates": "deployment templates belong to the hosted service; deployment shapes are served",
    "identityProviders": "identity providers belong to the hosted service",
}
"""Collections of the API that this platform does not serve, and what to say of each."""
NOT_DONE_INFERENCE = ("embeddings", "rerank", "responses", "messages", "audio", "images", "workflows")


def routes(platform: Platform) -> list[BaseRoute]:
    """Put these last: among them are the patterns for what is known but not done."""
    found: list[BaseRoute] = [
        Route("/health", _health, methods=["GET"]),
        route(platform, "/v1/local", GET=_local),
        route(platform, "/v1/local:shutdown", POST=_shut_down),
    ]
    for collection, message in NOT_DONE.items():
        door = _refuse(message)
        for path in (
            f"{_ACCOUNT}/{collection}",
            f"{_ACCOUNT}/{collection}/{{rest:path}}",
            f"{_ACCOUNT}/{collection}:{{rest}}",
        ):
            found.append(route(platform, path, **dict.fromkeys(_METHODS, door)))
    for prefix in ("/inference/v1", "/v1"):
        for name in NOT_DONE_INFERENCE:
            door = _refuse(f"{name} is not served here; chat/completions, completions and models are")
            for path in (f"{prefix}/{name}", f"{prefix}/{name}/{{rest:path}}"):
                found.append(route(platform, path, **dict.fromkeys(_METHODS, door)))
    return found


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _local(call: Call) -> dict[str, Any]:
    platform = call.platform
    with platform.store.read() as tx:
        rows = tx.deployments.active()
        models = len(tx.models.all())
    ready = {row.name: platform.supervisor.replica_stats(row.name).ready_replica_count or 0 for row in rows}
    served = [row for row in rows if row.state not in (DeploymentState.DELETING, DeploymentState.FAILED)]
    return {
        "url": platform.url,
        "account": platform.account.removeprefix("accounts/"),
        "version": __version__,
        "pid": os.getpid(),
        "models": models,
        "deployments": sum(row.state != DeploymentState.DELETING for row in rows),
        "starting": sum(ready[row.name] == 0 < row.desired_replicas for row in served),
        "replicas": {
            "desired": sum(row.desired_replicas for row in rows),
            "ready": sum(ready.values()),
            "max": platform.settings.max_replicas,
        },
    }


def _shut_down(call: Call) -> dict[str, Any]:
    call.platform.shut_down()
    return {}


def _refuse(message: str) -> Door:
    def refuse(call: Call) -> dict[str, Any]:
        if "account" in call.path:
            _ = call.account
        raise ApiError(Code.UNIMPLEMENTED, message)

    return refuse
