"""The HTTP doors of the engine: vLLM's routes, one function each, and the one place where errors become answers.

Must not compute: what a request means is decided behind the doors.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from firectl.engine.adapters.registry import Registry
from firectl.engine.generation import QueueFull
from firectl.engine.http.answer import ChatSpelling, CompletionSpelling, Spelling, write_stream, write_whole
from firectl.engine.http.disconnect import EventStream, unless_gone
from firectl.engine.http.prompts import chat_sequences, completion_sequences
from firectl.engine.journal import note
from firectl.engine.replica import Replica
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code, FirectlError, to_inference_wire
from firectl.schemas.openai import (
    ChatRequest,
    CompletionRequest,
    ParamError,
    parse_chat,
    parse_completion,
    parse_json,
)

MAX_BODY = 16 * 2**20
LONG_TEXT = 20_000
"""From this many bytes of body on, text is turned to tokens on another thread: the streams must not wait for it."""

Answer = Response | EventStream
Door = Callable[[Request], Awaitable[Answer]]


def build_app(replica: Replica) -> Starlette:
    doors = Doors(replica)
    routes = [
        Route("/health", doors.door(doors.health), methods=["GET"]),
        Route("/metrics", doors.door(doors.metrics), methods=["GET"]),
        Route("/v1/models", doors.door(doors.models, key=True), methods=["GET"]),
        Route("/v1/chat/completions", doors.door(doors.chat, key=True), methods=["POST"]),
        Route("/v1/completions", doors.door(doors.completions, key=True), methods=["POST"]),
        Route("/v1/load_lora_adapter", doors.door(doors.load_adapter, key=True), methods=["POST"]),
        Route("/v1/unload_lora_adapter", doors.door(doors.unload_adapter, key=True), methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_route})


class Doors:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def door(self, handle: Door, *, key: bool = False) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The route of one handler, with the key checked and every error turned into an answer."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            try:
                if key:
                    self._check_key(request)
                answer = await handle(request)
            except ClientDisconnect:
                return
            except Exception as error:
                answer = _error_answer(error)
            await answer(scope, receive, send)

        return _Asgi(app)

    async def health(self, request: Request) -> Answer:
        state = self._replica.health
        return JSONResponse({"status": state}, status_code=200 if state == "ok" else 503)

    async def metrics(self, request: Request) -> Answer:
        page = self._replica.ready.engine.metrics.page()
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Answer:
        ready, options = self._replica.ready, self._replica.options
        base: dict[str, Any] = {
            "id": options.served_model_name,
            "root": str(options.model),
            "parent": None,
            "max_model_len": ready.loaded.max_length,
        }
        adapters = ready.registry.adapters.values() if ready.registry else ()
        cards = [base] + [
            {"id": adapter.name, "root": str(adapter.source.adapter.path), "parent": base["id"], "max_model_len": None}
            for adapter in adapters
        ]
        common = {"object": "model", "created": self._replica.created, "owned_by": "firectl"}
        return JSONResponse({"object": "list", "data": [common | card for card in cards]})

    async def chat(self, request: Request) -> Answer:
        raw = await _body(request)
        chat = parse_chat(parse_json(raw))
        adapter = await self._replica.adapter(chat.model)
        loaded = self._replica.ready.loaded
        sequences = await _tokenise(len(raw), lambda: chat_sequences(loaded, chat, adapter))
        return await self._generate(request, chat, sequences, ChatSpelling(chat.model), prompts=1)

    async def completions(self, request: Request) -> Answer:
        raw = await _body(request)
        completion = parse_completion(parse_json(raw))
        adapter = await self._replica.adapter(completion.model)
        loaded = self._replica.ready.loaded
        sequences = await _tokenise(len(raw), lambda: completion_sequences(loaded, completion, adapter))
        spelling = CompletionSpelling(completion.model)
        return await self._generate(request, completion, sequences, spelling, prompts=len(completion.prompts))

    async def load_adapter(self, request: Request) -> Answer:
        fields = await _adapter_fields(request, ("lora_name", "lora_path"))
        registry = self._registry()
        name, path = fields["lora_name"], Path(fields["lora_path"])
        if not path.is_absolute():
            raise ParamError(f"lora_path must be an absolute path, got {path}", "lora_path")
        try:
            added = await registry.load(name, path, replace=fields["load_inplace"], pinned=fields["pinned"])
        except FirectlError as error:
            note(self._replica.options, f"{name} was not loaded: {error.message}")
            raise
        if added:
            note(self._replica.options, f"loaded {name}")
            return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' is loaded already.")

    async def unload_adapter(self, request: Request) -> Answer:
        fields = await _adapter_fields(request, ("lora_name",))
        await self._registry().unload(fields["lora_name"])
        note(self._replica.options, f"unloaded {fields['lora_name']}")
        return PlainTextResponse(f"Success: LoRA adapter '{fields['lora_name']}' removed successfully.")

    async def _generate(
        self,
        request: Request,
        asked: ChatRequest | CompletionRequest,
        sequences: list[Sequence],
        spelling: Spelling,
        prompts: int,
    ) -> Answer:
        generation = self._replica.start(asked.model, sequences)
        if asked.stream:
            events = write_stream(generation, sequences, spelling, prompts, usage_apart=asked.include_usage)
            return EventStream(events)
        document = await unless_gone(request.receive, write_whole(generation, sequences, spelling, prompts))
        if document is None:
            raise ClientDisconnect
        return JSONResponse(document)

    def _registry(self) -> Registry:
        registry = self._replica.ready.registry
        if registry is None:
            raise ApiError(
                Code.FAILED_PRECONDITION, "this engine does not take adapters", hint="start it with --enable-lora"
            )
        return registry

    def _check_key(self, request: Request) -> None:
        wanted = self._replica.options.api_key
        given = request.headers.get("authorization", "")
        if wanted and not secrets.compare_digest(given.encode("latin-1"), f"Bearer {wanted}".encode()):
            raise ApiError(Code.UNAUTHENTICATED, "the Authorization header does not carry this engine's key")


class _Asgi:
    """Starlette takes a plain function for a request handler, and an object for an ASGI app."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise ApiError(Code.INVALID_ARGUMENT, f"the body is larger than {MAX_BODY // 2**20} MiB", http_status=413)
        chunks.append(chunk)
    return b"".join(chunks)


async def _tokenise(size: int, make: Callable[[], list[Sequence]]) -> list[Sequence]:
    return make() if size < LONG_TEXT else await asyncio.to_thread(make)


async def _adapter_fields(request: Request, required: tuple[str, ...]) -> dict[str, Any]:
    body = parse_json(await _body(request))
    if not isinstance(body, dict):
        raise ParamError("the body must be a JSON object", None)
    for name in required:
        if not isinstance(body.get(name), str) or not body[name]:
            raise ParamError(f"{name} must be a non-empty string", name)
    known = {"lora_name", "lora_path", "load_inplace", "pinned", "base_model_name", "lora_int_id"}
    unknown = next((name for name in body if name not in known), None)
    if unknown is not None:
        raise ParamError(f"unknown parameter {unknown}", unknown)
    flags = {name: body.get(name, False) for name in ("load_inplace", "pinned")}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ParamError(f"{name} must be true or false", name)
    return body | flags


def _error_answer(error: Exception) -> Response:
    headers = {}
    if isinstance(error, QueueFull):
        headers["retry-after"] = str(error.retry_after)
    if not isinstance(error, FirectlError):
        traceback.print_exception(error, file=sys.stderr)
        error = ApiError(Code.INTERNAL, f"internal error: {type(error).__name__}")
    status = error.http_status if isinstance(error, ApiError) else error.code.http_status
    return JSONResponse(to_inference_wire(error, getattr(error, "param", None)), status_code=status, headers=headers)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    problem = ApiError(Code.of(None, status), f"{request.method} {request.url.path}: no such route", http_status=status)
    return JSONResponse(to_inference_wire(problem), status_code=status)
