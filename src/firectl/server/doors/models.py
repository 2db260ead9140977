"""Models over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from firectl.schemas.base import Wire
from firectl.schemas.model import CreateModel, GetUploadEndpoint, Model, PrepareModel, ValidateUpload
from firectl.server.control.models import models, uploads, validation
from firectl.server.doors.call import Call, route
from firectl.server.platform import Platform

_MODELS = "/v1/accounts/{account:id}/models"
_MODEL = f"{_MODELS}/{{id:id}}"


def routes(platform: Platform) -> list[BaseRoute]:
    return [
        route(platform, _MODELS, GET=_list, POST=_create),
        route(platform, _MODEL, GET=_get, PATCH=_update, DELETE=_delete),
        route(platform, f"{_MODEL}:getUploadEndpoint", POST=_upload_endpoint),
        route(platform, f"{_MODEL}:validateUpload", GET=_validate),
        route(platform, f"{_MODEL}:getDownloadEndpoint", GET=_download_endpoint),
        route(platform, f"{_MODEL}:prepare", POST=_prepare),
        route(platform, f"{_MODEL}:verify", POST=_verify),
    ]


def _list(call: Call) -> dict[str, Any]:
    return call.page(models.list_all(call.platform, call.account), Model, "models")


def _create(call: Call) -> Wire:
    asked = call.body(CreateModel)
    return models.create(call.platform, call.caller, call.account, asked.model_id, asked.model)


def _get(call: Call) -> dict[str, Any]:
    return call.masked(models.get(call.platform, call.caller, call.name("models")))


def _update(call: Call) -> Wire:
    return models.update(call.platform, call.caller, call.name("models"), call.patch(Model))


def _delete(call: Call) -> dict[str, Any]:
    models.delete(call.platform, call.caller, call.name("models"))
    return {}


def _upload_endpoint(call: Call) -> Wire:
    asked = call.body(GetUploadEndpoint)
    resumable = bool(asked.enable_resumable_upload)
    name = call.name("models")
    return uploads.announce(call.platform, call.caller, name, asked.filename_to_size, resumable, call.origin)


def _validate(call: Call) -> Wire:
    return ValidateUpload(warnings=validation.validate(call.platform, call.caller, call.name("models")))


def _download_endpoint(call: Call) -> Wire:
    return uploads.download_urls(call.platform, call.caller, call.name("models"), call.origin)


def _prepare(call: Call) -> dict[str, Any]:
    models.prepare(call.platform, call.caller, call.name("models"), call.body(PrepareModel).precision)
    return {}


def _verify(call: Call) -> Wire:
    return models.verify(call.platform, call.caller, call.name("models"))
