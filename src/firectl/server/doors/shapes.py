"""Deployment shapes and their versions over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from firectl.schemas.base import Wire
from firectl.schemas.deployment import Deployment
from firectl.schemas.shape import DeploymentShape, DeploymentShapeVersion
from firectl.server.control.deployments import shapes
from firectl.server.doors.call import Call, route
from firectl.server.platform import Platform

_ACCOUNT = "/v1/accounts/{account:id}"
_SHAPES = f"{_ACCOUNT}/deploymentShapes"
_VERSIONS = f"{_SHAPES}/{{id:id}}/versions"


class MatchRequest(Wire):
    deployment: Deployment


class MatchShapes(Wire):
    create_deployment_request: MatchRequest


def routes(platform: Platform) -> list[BaseRoute]:
    return [
        route(platform, _SHAPES, GET=_list),
        route(platform, f"{_SHAPES}/{{id:id}}", GET=_get),
        route(platform, _VERSIONS, GET=_list_versions),
        route(platform, f"{_VERSIONS}/{{version:id}}", GET=_get_version),
        route(platform, f"{_ACCOUNT}/deploymentShapeVersions:match", POST=_match),
    ]


def _list(call: Call) -> dict[str, Any]:
    target = call.text("target_model")
    found = shapes.list_shapes(call.platform, call.caller, call.account, target or None)
    return call.page(found, DeploymentShape, "deploymentShapes", order="create_time", scope=target)


def _get(call: Call) -> dict[str, Any]:
    return call.masked(shapes.get_shape(call.platform, call.name("deploymentShapes")))


def _list_versions(call: Call) -> dict[str, Any]:
    found = shapes.list_versions(call.platform, call.account, call.path["id"])
    return call.page(found, DeploymentShapeVersion, "deploymentShapeVersions", order="create_time")


def _get_version(call: Call) -> dict[str, Any]:
    shape = call.name("deploymentShapes")
    return call.masked(shapes.get_version(call.platform, shape, call.path["version"]))


def _match(call: Call) -> dict[str, Any]:
    wanted = call.body(MatchShapes).create_deployment_request.deployment
    _ = call.account  # NOT_FOUND unless the caller may use this account; the shapes are those of the base's account
    found = shapes.match(call.platform, call.caller, wanted.base_model or "", bool(wanted.enable_addons))
    return call.page(found, DeploymentShapeVersion, "deploymentShapeVersions", order="create_time")
