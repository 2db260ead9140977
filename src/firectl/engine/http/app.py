"""Define the engine's HTTP endpoints: vLLM's routes, one method each; errors are converted to answers.

Must not compute: the modules that this one calls decide what a request means.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from firectl.engine.adapters.registry import Registry
from firectl.engine.event_log import log_event
from firectl.engine.generation import QueueFull
from firectl.engine.http.answer import AnswerFormat, write_stream, write_whole
from firectl.engine.http.disconnect import EventStream, unless_disconnected
from firectl.engine.http.prompts import chat_sequences, completion_sequences
from firectl.engine.model_server import ModelServer
from firectl.engine.schedule.adapter import EngineAdapter
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

if TYPE_CHECKING:
    from firectl.engine.load import LoadedModel

MAX_BODY = 16 * 2**20
LONG_TEXT = 20_000
"""A body of this many bytes or more is tokenised on another thread, so that streams do not wait for it."""

Answer = Response | EventStream
_Asked = TypeVar("_Asked", ChatRequest, CompletionRequest)
Endpoint = Callable[[Request], Awaitable[Answer]]


def build_app(server: ModelServer) -> Starlette:
    endpoints = Endpoints(server)
    guarded = endpoints.guarded
    routes = [
        Route("/health", guarded(endpoints.health, key=False)),
        Route("/metrics", guarded(endpoints.metrics, key=False)),
        Route("/v1/models", guarded(endpoints.models)),
        Route("/v1/chat/completions", guarded(endpoints.chat), methods=["POST"]),
        Route("/v1/completions", guarded(endpoints.completions), methods=["POST"]),
        Route("/v1/load_lora_adapter", guarded(endpoints.load_adapter), methods=["POST"]),
        Route("/v1/unload_lora_adapter", guarded(endpoints.unload_adapter), methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_route})


class Endpoints:
    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def guarded(self, endpoint: Endpoint, *, key: bool = True) -> Endpoint:
        """Wrap an endpoint: check the API key first if `key`, and convert every error to an answer."""

        async def guarded(request: Request) -> Answer:
            try:
                if key:
                    self._check_key(request)
                return await endpoint(request)
            except ClientDisconnect:
                return Response()  # goes nowhere: the connection is closed
            except Exception as error:
                return _error_answer(error)

        return guarded

    async def health(self, request: Request) -> Answer:
        state = self._server.health
        return JSONResponse({"status": state}, status_code=200 if state == "ok" else 503)

    async def metrics(self, request: Request) -> Answer:
        page = self._server.ready.engine.metrics.page()
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Answer:
        ready, options = self._server.ready, self._server.options
        base = options.served_model_name
        cards: list[tuple[str, Path, str | None, int | None]] = [
            (base, options.model, None, ready.engine.loaded.max_length)
        ]
        for adapter in ready.registry.adapters.values() if ready.registry else ():
            cards.append((adapter.name, adapter.source.adapter.path, base, None))
        common = {"object": "model", "created": self._server.created, "owned_by": "firectl"}
        data = [
            {"id": name, "root": str(root), "parent": parent, "max_model_len": length} | common
            for name, root, parent, length in cards
        ]
        return JSONResponse({"object": "list", "data": data})

    async def chat(self, request: Request) -> Answer:
        return await self._generate(request, parse_chat, chat_sequences)

    async def completions(self, request: Request) -> Answer:
        return await self._generate(request, parse_completion, completion_sequences)

    async def load_adapter(self, request: Request) -> Answer:
        fields = await _adapter_fields(request, ("lora_name", "lora_path"))
        registry, options = self._registry(), self._server.options
        name, path = fields["lora_name"], Path(fields["lora_path"])
        if not path.is_absolute():
            raise ParamError(f"lora_path must be an absolute path, got {path}", "lora_path")
        try:
            added = await registry.load(name, path, replace=fields["load_inplace"], pinned=fields["pinned"])
        except FirectlError as error:
            log_event(options, f"{name} was not loaded: {error.message}")
            raise
        if added:
            log_event(options, f"loaded {name}")
        done = "added successfully" if added else "is loaded already"
        return PlainTextResponse(f"Success: LoRA adapter '{name}' {done}.")

    async def unload_adapter(self, request: Request) -> Answer:
        name = (await _adapter_fields(request, ("lora_name",)))["lora_name"]
        await self._registry().unload(name)
        log_event(self._server.options, f"unloaded {name}")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _generate(
        self,
        request: Request,
        parse: Callable[[object], _Asked],
        sequences_of: Callable[[LoadedModel, _Asked, EngineAdapter | None], list[Sequence]],
    ) -> Answer:
        raw = await _body(request)
        asked = parse(parse_json(raw))
        arguments = (self._server.ready.engine.loaded, asked, await self._server.adapter(asked.model))
        sequences = (
            sequences_of(*arguments) if len(raw) < LONG_TEXT else await asyncio.to_thread(sequences_of, *arguments)
        )
        answer_format = AnswerFormat(asked.model, chat=isinstance(asked, ChatRequest))
        generation = self._server.start(asked.model, sequences)
        if asked.stream:
            events = write_stream(generation, sequences, answer_format, asked.n, usage_chunk=asked.include_usage)
            return EventStream(events)
        whole = write_whole(generation, sequences, answer_format, asked.n)
        document = await unless_disconnected(request.receive, whole)
        if document is None:
            raise ClientDisconnect
        return JSONResponse(document)

    def _registry(self) -> Registry:
        registry = self._server.ready.registry
        if registry is None:
            raise ApiError(
                Code.FAILED_PRECONDITION, "this engine does not accept adapters", hint="start it with --enable-lora"
            )
        return registry

    def _check_key(self, request: Request) -> None:
        wanted = self._server.options.api_key
        given = request.headers.get("authorization", "")
        if wanted and not secrets.compare_digest(given.encode("latin-1"), f"Bearer {wanted}".encode()):
            raise ApiError(Code.UNAUTHENTICATED, "the Authorization header does not carry this engine's key")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(Code.INVALID_ARGUMENT, f"the body is larger than {MAX_BODY // 2**20} MiB", http_status=413)
    return bytes(body)


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
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, QueueFull) else {}
    if not isinstance(error, FirectlError):
        traceback.print_exception(error, file=sys.stderr)
        error = ApiError(Code.INTERNAL, f"internal error: {type(error).__name__}")
    status = error.http_status if isinstance(error, ApiError) else error.code.http_status
    return JSONResponse(to_inference_wire(error, getattr(error, "param", None)), status_code=status, headers=headers)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    problem = ApiError(Code.of(None, status), f"{request.method} {request.url.path}: no such route", http_status=status)
    return JSONResponse(to_inference_wire(problem), status_code=status)
