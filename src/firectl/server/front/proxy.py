"""How does an inference request get to a replica, and the answer back to the client?

Each event is sent as soon as it is complete. Must not resolve routes or read the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from firectl import sse
from firectl.errors import ApiError, Code, to_inference_wire
from firectl.server.front.router import NOT_FOUND, NotReady, RouteTarget, went_away
from firectl.server.replicas.engine_client import EngineAnswer, EngineClient, EngineExchange, EngineGone
from firectl.server.replicas.replica import Replica
from firectl.server.replicas.replica_set import ReplicaSet
from firectl.server.usage.traffic import CLIENT_LEFT, Reservation

log = logging.getLogger(__name__)

REPLICA_LOST = "the replica that was answering ended; send the request again"
ENDING = "the platform is shutting down; send the request again once it is up"
_TRIES = 2
# Engines report usage in the last chunk of every stream. The text of an answer cannot contain this: inside a JSON
# string the quotes are escaped.
_USAGE = b'"usage":'


@dataclass(frozen=True)
class Job:
    """One request: `path` and `document` go to the engine; `asked` is the `model` string that the user sent.

    `deadline` limits the whole answer, in seconds. `reservation` is None for a probe, which is not counted.
    """

    path: str
    document: Mapping[str, object]
    target: RouteTarget
    asked: str
    stream: bool
    request_id: str
    deadline: float
    reservation: Reservation | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that every answer to this request gets."""
        return {
            "x-request-id": self.request_id,
            "x-firectl-deployment": self.target.deployment,
            "x-firectl-model": self.target.model,
        }


class Proxy:
    """An ASGI application that answers one job. Stops if the client leaves, the deadline passes or the replica ends.

    The request goes to `replica`. If that is lost before the answer began, another one of `replicas` gets the request.
    """

    def __init__(self, job: Job, replicas: ReplicaSet, replica: Replica) -> None:
        self._job = job
        self._replicas = replicas
        self._replica = replica
        self._started = False
        self._over = False
        """Whether the last part of the answer was sent, or no more can be sent."""
        self._left = False
        self._status = CLIENT_LEFT
        self._renames = _renames(job.target.engine_model, job.asked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Answer in the current task: a separate one would delay the first byte by one iteration of the event loop.
        work = asyncio.current_task()
        assert work is not None
        gone = asyncio.create_task(_client_gone(receive))
        gone.add_done_callback(lambda gone: self._client_left(gone, work))
        try:
            await self._answer(send)
        except asyncio.CancelledError:
            if not self._left:
                # The platform shuts down before this answer ended.
                await self._fail(send, NotReady(ENDING, Code.UNAVAILABLE.name, 1))
                raise
            if work.uncancel():
                raise
        finally:
            self._over = True
            gone.cancel()
            if self._job.reservation is not None:
                self._job.reservation.end(self._status)

    def _client_left(self, gone: asyncio.Task[None], work: asyncio.Task[object]) -> None:
        """Cancel the answer once the client closed the connection, so that the engine stops working on it."""
        if not gone.cancelled():
            gone.exception()  # any other connection error has the same effect
        if not self._over:
            self._left = True
            work.cancel()

    async def _answer(self, send: Send) -> None:
        job = self._job
        try:
            async with asyncio.timeout(job.deadline):
                await self._try(send)
        except TimeoutError:
            await self._fail(send, ApiError(Code.DEADLINE_EXCEEDED, f"no answer within {job.deadline:.0f} s"))
        except ApiError as error:
            await self._fail(send, error)

    async def _try(self, send: Send) -> None:
        body = json.dumps({**self._job.document, "model": self._job.target.engine_model}).encode()
        target = self._job.target
        replica: Replica | None = self._replica
        lost: list[int] = []
        sent = 0
        while replica is not None and sent < _TRIES and not self._started:
            try:
                with replica.lease() as client:
                    sent += 1
                    await self._exchange(client, body, send)
                return
            except EngineGone as error:
                log.warning("replica %d of %s: %s", replica.ordinal, target.deployment, error)
            lost.append(replica.ordinal)
            replica = self._replicas.pick(target.adapter, target.folder, lost)
        raise NotReady(REPLICA_LOST, Code.UNAVAILABLE.name, 1) if sent else went_away(target.deployment)

    async def _exchange(self, client: EngineClient, body: bytes, send: Send) -> None:
        exchange = await client.open("POST", self._job.path, body, {"x-request-id": self._job.request_id})
        with contextlib.closing(exchange):
            if exchange.status == 200 and self._job.stream:
                await self._relay(exchange, send)
            else:
                await self._hand_over(await exchange.answer(), exchange.retry_after, send)

    async def _relay(self, exchange: EngineExchange, send: Send) -> None:
        """Send each server-sent event on as soon as it is complete."""
        reader = sse.Reader()
        ended = False
        reservation = self._job.reservation
        chunks = exchange.chunks()
        async for chunk in chunks:
            try:
                events = reader.feed(chunk)
            except ValueError as error:
                raise EngineGone(f"in the middle of its answer: {error}") from error
            if not events:
                continue
            if not self._started:
                await self._start(send, 200, sse.HEADERS)
                if reservation is not None:
                    reservation.begun()
            body = b"\n\n".join([*events, b""])
            if reservation is not None and _USAGE in body:
                reservation.usage(_usage(events))
            ended = any(sse.data_of(event) == sse.DONE for event in events)
            if ended:
                # The last event also ends the body; afterwards the client may disconnect.
                self._over = True
                self._status = 200
            await send({"type": "http.response.body", "body": self._rename(body), "more_body": not ended})
            if ended:
                break
        if not ended:
            raise EngineGone("the engine ended its stream before [DONE]")
        with contextlib.suppress(EngineGone):
            # Read to the end, so that the connection can be reused.
            async for _ in chunks:
                pass

    async def _hand_over(self, answer: EngineAnswer, retry_after: str | None, send: Send) -> None:
        document = answer.json()
        if answer.status == 401 or document is None:
            log.error(
                "an engine of %s answered HTTP %d with a wrong key or no JSON",
                self._job.target.deployment,
                answer.status,
            )
            raise ApiError(Code.INTERNAL, f"the engine answered HTTP {answer.status} with something unusable")
        if answer.status == 404:
            # The adapter was unloaded since the route was resolved.
            raise ApiError(Code.NOT_FOUND, NOT_FOUND, hint=f"{self._job.target.canonical} is no longer there")
        if self._job.reservation is not None and isinstance(document, Mapping):
            self._job.reservation.usage(document.get("usage"))
        headers = {"content-type": "application/json"}
        if retry_after is not None:
            headers["retry-after"] = retry_after
        body = self._rename(answer.body)
        if answer.status != 200:
            body = body.replace(self._job.target.engine_model.encode(), json.dumps(self._job.asked)[1:-1].encode())
        await self._whole(send, answer.status, headers, body)

    async def _fail(self, send: Send, error: ApiError) -> None:
        if self._over:
            return
        body = json.dumps(to_inference_wire(error)).encode()
        self._status = error.http_status
        if self._started:
            await send({"type": "http.response.body", "body": sse.event(body), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        headers = {"content-type": "application/json"}
        if isinstance(error, NotReady):
            headers["retry-after"] = str(error.retry_after)
        await self._whole(send, error.http_status, headers, body)

    async def _whole(self, send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._status = status
        await self._start(send, status, {**headers, "content-length": str(len(body))})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _start(self, send: Send, status: int, headers: Mapping[str, str]) -> None:
        self._started = True
        fields = [(name.encode(), value.encode("latin-1")) for name, value in {**headers, **self._job.headers}.items()]
        start: Message = {"type": "http.response.start", "status": status, "headers": fields}
        await send(start)

    def _rename(self, data: bytes) -> bytes:
        for old, new in self._renames:
            data = data.replace(old, new)
        return data


def _renames(engine_model: str, asked: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return (old, new) replacements that turn the engine's model name into the user's in `model` fields.

    The text of an answer cannot match: inside a JSON string the quotes are escaped.
    """
    new = json.dumps(asked).encode()
    old = json.dumps(engine_model).encode()
    return tuple((b'"model":' + space + old, b'"model":' + space + new) for space in (b"", b" "))


def _usage(events: Sequence[bytes]) -> object:
    """Return the `usage` object of the last event that has one; None if there is none."""
    for event in reversed(events):
        if _USAGE in event:
            try:
                document = json.loads(sse.data_of(event) or b"")
            except ValueError:
                continue
            if isinstance(document, Mapping) and document.get("usage"):
                return document["usage"]
    return None


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
