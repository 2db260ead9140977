"""The inference API over HTTP: OpenAI's chat, completions and models under /inference/v1 and /v1.

Thin: it parses the request, asks the router for a replica and calls the proxy. Errors have OpenAI's form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from firectl.errors import ApiError, Code, FirectlError, to_inference_wire
from firectl.schemas.openai import ChatRequest, CompletionRequest, ParamError, parse_chat, parse_completion, parse_json
from firectl.server.front.proxy import Job, Proxy
from firectl.server.front.router import NoAnswer, NotReady, Router
from firectl.server.replicas.supervisor import Supervisor

PREFIXES = ("/inference/v1", "/v1")
PROBE_HEADER = "x-firectl-probe"

Handler = Callable[[Request], Awaitable[ASGIApp]]


@dataclass(frozen=True)
class Limits:
    """The largest body of a request in bytes, and how long its body and its answer may take."""

    body_bytes: int = 16 << 20
    body_seconds: float = 60.0
    answer_seconds: float = 600.0


class InferenceDoor:
    """Serves the inference routes of one platform. Authentication runs earlier and sets the caller and request ID."""

    def __init__(self, router: Router, supervisor: Supervisor, limits: Limits | None = None) -> None:
        self._router = router
        self._supervisor = supervisor
        self._limits = limits or Limits()

    def routes(self) -> list[Route]:
        """Return the routes of the inference API under every prefix."""
        served: list[tuple[str, str, Handler]] = [
            ("POST", "/chat/completions", partial(self._complete, parse_chat, "/v1/chat/completions")),
            ("POST", "/completions", partial(self._complete, parse_completion, "/v1/completions")),
            ("GET", "/models", self._models),
        ]
        return [
            Route(prefix + path, self._guarded(handler), methods=[method])
            for prefix in PREFIXES
            for method, path, handler in served
        ]

    async def _models(self, request: Request) -> ASGIApp:
        data = [
            {"id": served.route, "object": "model", "created": served.created, "owned_by": served.owner}
            for served in await self._router.served(request.state.caller)
        ]
        return JSONResponse({"object": "list", "data": data})

    async def _complete(
        self, parse: Callable[[object], ChatRequest | CompletionRequest], path: str, request: Request
    ) -> ASGIApp:
        """Return the application that forwards a request to the engine's `path` and relays the answer."""
        document = await self._document(request)
        parsed = parse(document)
        assert isinstance(document, dict)
        counted = request.headers.get(PROBE_HEADER) != "1"
        traffic = self._supervisor.traffic
        try:
            target, replica = await self._router.resolve(parsed.model, request.state.caller)
        except NoAnswer as error:
            if counted and error.target is not None:
                traffic.refuse(error.target.deployment, error.target.model, error.http_status)
            raise
        reservation = traffic.admit(target.deployment, target.model) if counted else None
        answer_seconds, request_id = self._limits.answer_seconds, request.state.request_id
        job = Job(path, document, target, parsed.model, parsed.stream, request_id, answer_seconds, reservation)
        return Proxy(job, self._supervisor.replica_set(target.deployment), replica)

    async def _document(self, request: Request) -> object:
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                parts: list[bytes] = []
                size = 0
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > self._limits.body_bytes:
                        raise ParamError(f"the body is larger than {self._limits.body_bytes} bytes", None)
        except TimeoutError as error:
            message = f"the request body did not arrive within {self._limits.body_seconds:.0f} s"
            raise ApiError(Code.DEADLINE_EXCEEDED, message, http_status=408) from error
        return parse_json(b"".join(parts))

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> ASGIApp:
            try:
                return await handler(request)
            except ClientDisconnect:
                return Response(status_code=Code.CANCELLED.http_status)
            except FirectlError as error:
                return _refusal(error, request.state.request_id)

        return guarded  # type: ignore[return-value]  # starlette calls whatever comes back as an ASGI application


def _refusal(error: FirectlError, request: str) -> Response:
    status = error.http_status if isinstance(error, ApiError) else error.code.http_status
    headers = {"x-request-id": request}
    if isinstance(error, NotReady):
        headers["retry-after"] = str(error.retry_after)
    param = error.param if isinstance(error, ParamError) else "model" if error.code is Code.NOT_FOUND else None
    return JSONResponse(to_inference_wire(error, param), status_code=status, headers=headers)
