"""Deployed models over HTTP: load and unload LoRAs."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from firectl.schemas.base import Wire
from firectl.schemas.deployed_model import DeployedModel
from firectl.server.control.deployments import loading
from firectl.server.doors.call import Call, route
from firectl.server.platform import Platform

_ALL = "/v1/accounts/{account:id}/deployedModels"
_ONE = f"{_ALL}/{{id:id}}"


def routes(platform: Platform) -> list[BaseRoute]:
    return [
        route(platform, _ALL, GET=_list, POST=_load),
        route(platform, _ONE, GET=_get, PATCH=_update, DELETE=_unload),
    ]


def _list(call: Call) -> dict[str, Any]:
    return call.page(loading.list_all(call.platform, call.account), DeployedModel, "deployedModels")


def _load(call: Call) -> Wire:
    replace = call.flag("replace_merged_addon")
    return loading.load(call.platform, call.caller, call.account, call.body(DeployedModel), replace)


def _get(call: Call) -> dict[str, Any]:
    return call.masked(loading.get(call.platform, call.caller, call.name("deployedModels")))


def _update(call: Call) -> Wire:
    return loading.update(call.platform, call.caller, call.name("deployedModels"), call.patch(DeployedModel))


def _unload(call: Call) -> dict[str, Any]:
    loading.unload(call.platform, call.caller, call.name("deployedModels"))
    return {}
