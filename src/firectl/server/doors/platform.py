"""The platform itself over HTTP: its health, its counts of models, deployments and replicas, and its shutdown.

Requests for the parts of the hosted API that it does not serve also come here: UNIMPLEMENTED, with the reason.
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
_BELOW = "/{rest:path}"
_METHODS = ("GET", "POST", "PATCH", "DELETE")
_FINE_TUNING = "fine-tuning runs on the hosted service"
NOT_SERVED = {
    "datasets": "datasets are for fine-tuning and batch jobs, which run on the hosted service",
    "supervisedFineTuningJobs": _FINE_TUNING,
    "reinforcementFineTuningJobs": _FINE_TUNING,
    "reinforcementFineTuningSteps": _FINE_TUNING,
    "rlorTrainerJobs": _FINE_TUNING,
    "dpoJobs": _FINE_TUNING,
    "batchInferenceJobs": "batch inference runs on the hosted service; send requests to a deployment instead",
    "batchJobs": "batch jobs run on the hosted service",
    "evaluators": "evaluations run on the hosted service",
    "evaluationJobs": "evaluations run on the hosted service",
    "secrets": "secrets are stored by the hosted service",
    "clusters": "clusters belong to the hosted service",
    "environments": "environments belong to the hosted service",
    "snapshots": "snapshots belong to the hosted service",
    "quotas": "there are no quotas here; the platform's limits are flags of firectl local up",
    "deploymentTemplates": "deployment templates belong to the hosted service; deployment shapes are served",
    "identityProviders": "identity providers belong to the hosted service",
}
"""Collections of the hosted API that this platform does not serve, each with the reason."""
NOT_SERVED_INFERENCE = ("embeddings", "rerank", "responses", "messages", "audio", "images", "workflows")


def routes(platform: Platform) -> list[BaseRoute]:
    """Return the routes of this module. Put them after all others: some are patterns that would match other paths."""
    refused = {f"{_ACCOUNT}/{name}{rest}": why for name, why in NOT_SERVED.items() for rest in ("", _BELOW, ":{rest}")}
    for name in NOT_SERVED_INFERENCE:
        why = f"{name} is not served here; chat/completions, completions and models are"
        refused |= {f"{start}/{name}{rest}": why for start in ("/inference/v1", "/v1") for rest in ("", _BELOW)}
    return [
        Route("/health", _health, methods=["GET"]),
        route(platform, "/v1/local", GET=_local),
        route(platform, "/v1/local:shutdown", POST=_shut_down),
        *(route(platform, path, **dict.fromkeys(_METHODS, _refuse(why))) for path, why in refused.items()),
    ]


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
