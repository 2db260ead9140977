"""Who sends this request? Checks the API key before a handler runs; `/health` and signed file URLs need no key.

The middleware also gives each request an ID, limits its body, logs it, and turns every uncaught error into JSON.
"""

from __future__ import annotations

import logging
import time
import uuid

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firectl.errors import ApiError, Code, FirectlError
from firectl.server.access.auth import Authenticator, Caller
from firectl.server.doors.errors import error_response, internal_error

log = logging.getLogger("firectl.server.access")

MAX_BODY_BYTES = 32 << 20
_FILES = "/files/"
"""Requests below this path need no API key: their URL has a signature, which also limits the size of the body."""
_HEALTH = "/health"
"""Clients call this path every few seconds. It needs no key, and is logged only when it fails."""


class Authentication:
    """ASGI middleware. It sets `request.state.request_id`, and `request.state.caller` where a key is needed."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, path = uuid.uuid4().hex, scope["path"]
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        started = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        error: FirectlError | None = None
        try:
            if path != _HEALTH and not path.startswith(_FILES):
                state["caller"] = await self._caller(scope)
                receive = _limited(scope, receive)
            await self._app(scope, receive, sending)
        except FirectlError as refused:
            error = refused
        except ClientDisconnect:
            status = status or Code.CANCELLED.http_status
        except Exception as unexpected:
            error = internal_error(unexpected, request_id)
        if error is not None and status == 0:
            await error_response(path, error, request_id)(scope, receive, sending)
        if path != _HEALTH or status != 200:
            took = (time.monotonic() - started) * 1000
            log.info("%s %s %d %.1f ms %s", scope["method"], _for_log(path), status, took, request_id)

    async def _caller(self, scope: Scope) -> Caller:
        header = Headers(scope=scope).get("authorization")
        known = self._authenticator.known(header)
        if known is not None:
            return known
        return await run_in_threadpool(self._authenticator.authenticate, header)


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that raises an error once the body is larger than `MAX_BODY_BYTES`."""
    announced = Headers(scope=scope).get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    size = 0

    async def receiving() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise _too_large()
        return message

    return receiving


def _too_large() -> ApiError:
    return ApiError(
        Code.INVALID_ARGUMENT, f"the request body is larger than {MAX_BODY_BYTES >> 20} MiB", http_status=413
    )


def _for_log(path: str) -> str:
    """Return the path as it is logged: without line breaks, and without the query, which may hold a signature."""
    return ascii(path[:300])[1:-1]
