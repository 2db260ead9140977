"""Deployments over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from firectl.schemas.base import Wire
from firectl.schemas.deployment import Deployment, ScaleDeployment
from firectl.server.control.deployments import deployments
from firectl.server.doors.call import Call, route
from firectl.server.platform import Platform

_DEPLOYMENTS = "/v1/accounts/{account:id}/deployments"
_DEPLOYMENT = f"{_DEPLOYMENTS}/{{id:id}}"


def routes(platform: Platform) -> list[BaseRoute]:
    return [
        route(platform, _DEPLOYMENTS, GET=_list, POST=_create),
        route(platform, _DEPLOYMENT, GET=_get, PATCH=_update, DELETE=_delete),
        route(platform, f"{_DEPLOYMENT}:scale", PATCH=_scale),
        route(platform, f"{_DEPLOYMENT}:undelete", POST=_undelete),
        route(platform, f"{_DEPLOYMENT}:mergeRecord", GET=_merge_record),
    ]


def _list(call: Call) -> dict[str, Any]:
    show_deleted = call.flag("show_deleted")
    found = deployments.list_all(call.platform, call.account, show_deleted)
    return call.page(found, Deployment, "deployments", order="create_time", scope=str(show_deleted))


def _create(call: Call) -> Wire:
    options = deployments.CreateOptions(
        deployment_id=call.text("deployment_id") or None,
        validate_only=call.flag("validate_only"),
        disable_auto_deploy=call.flag("disable_auto_deploy"),
        disable_speculative_decoding=call.flag("disable_speculative_decoding"),
        skip_shape_validation=call.flag("skip_shape_validation"),
    )
    return deployments.create(call.platform, call.caller, call.account, call.body(Deployment), options)


def _get(call: Call) -> dict[str, Any]:
    return call.masked(deployments.get(call.platform, call.caller, call.name("deployments")))


def _update(call: Call) -> Wire:
    return deployments.update(call.platform, call.caller, call.name("deployments"), call.patch(Deployment))


def _scale(call: Call) -> dict[str, Any]:
    deployments.scale(call.platform, call.caller, call.name("deployments"), call.body(ScaleDeployment).replica_count)
    return {}


def _delete(call: Call) -> dict[str, Any]:
    options = {name: call.flag(name) for name in ("hard", "ignore_checks")}
    deployments.delete(call.platform, call.caller, call.name("deployments"), **options)
    return {}


def _undelete(call: Call) -> Wire:
    return deployments.undelete(call.platform, call.caller, call.name("deployments"))


def _merge_record(call: Call) -> dict[str, Any]:
    return deployments.merge_record(call.platform, call.caller, call.name("deployments"))
