"""How is an error sent over HTTP? In OpenAI's JSON format on inference paths, in one other format on all others."""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from firectl.errors import ApiError, Code, FirectlError, to_inference_wire, to_wire

log = logging.getLogger(__name__)

_INFERENCE = ("/inference/", "/v1/chat/", "/v1/completions", "/v1/models")


def error_response(path: str, error: FirectlError, request_id: str) -> Response:
    """Return the HTTP response for an error, in the JSON format that callers of this path expect."""
    status = error.http_status if isinstance(error, ApiError) else error.code.http_status
    body = to_inference_wire(error) if path.startswith(_INFERENCE) else to_wire(error, request_id)
    headers = {"www-authenticate": "Bearer"} if error.code is Code.UNAUTHENTICATED else None
    return JSONResponse(body, status_code=status, headers=headers)


def internal_error(error: BaseException, request_id: str) -> ApiError:
    """Return the error that callers get for an unexpected exception. Its traceback goes to the log only."""
    log.error("internal error, request %s", request_id, exc_info=error)
    message = f"internal error: {type(error).__name__}"
    hint = f"logs/platform.log has the traceback, under request {request_id}"
    return ApiError(Code.INTERNAL, message, hint=hint)


async def on_firectl_error(request: Request, error: Exception) -> Response:
    """Answer a request with an error that a door or `control` raised."""
    assert isinstance(error, FirectlError)
    return error_response(request.url.path, error, request.state.request_id)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer a request that the router refused: no such route, or a method that the path does not take."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    headers = dict(error.headers or {})
    code, message = Code.of(None, error.status_code), str(error.detail)
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        message = f"{method} {path} is not known; the path takes {headers['Allow']}"
    elif error.status_code == 404:
        message = f"no such route: {method} {path}"
    response = error_response(path, ApiError(code, message, http_status=error.status_code), request.state.request_id)
    response.headers.update(headers)
    return response
