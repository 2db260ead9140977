"""A model's files over HTTP: signed URLs to put and get them, whole or, by Google's resumable protocol, in parts.

Bytes go to disk as they come, a piece at a time; whether a file may come and when it is there is `control.uploads`.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from firectl.errors import ApiError, Code
from firectl.names import random_id
from firectl.schemas.words import Reason
from firectl.server.control.models import uploads
from firectl.server.control.models.uploads import Ticket
from firectl.server.disk.files import Arrival, BegunAnew, FileStore
from firectl.server.doors.errors import error_response
from firectl.server.platform import Platform

if TYPE_CHECKING:
    from firectl.server.disk.files import HashSoFar

RESUMABLE = "x-goog-resumable"
PIECE = 1 << 20
"""Bytes that are written, or read, at a time."""
_BUSY_SECONDS = 30.0
_HASHES_KEPT = 64
_DRAINED_BYTES = 16 << 20
_DRAIN_SECONDS = 5.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,19}|\*)")


def routes(platform: Platform) -> list[BaseRoute]:
    door = FilesDoor(platform)
    path = "/files/accounts/{account:id}/models/{id:id}/{filename:path}"
    return [Route(path, door.serve, methods=["GET", "PUT", "POST"])]


class FilesDoor:
    """One for the platform: it keeps two requests from writing one file at once."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._store = FileStore(platform.paths)
        self._writing: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._hashes: dict[Path, HashSoFar] = {}

    async def serve(self, request: Request) -> Response:
        """Whatever the signed URL allows."""
        try:
            return await self._serve(request)
        except ApiError as error:
            drained = await _drain(request)
            response = error_response(request.url.path, error, request.state.request_id)
            if not drained:
                response.headers["connection"] = "close"
            return response

    async def _serve(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        parts = request.path_params
        model = f"accounts/{parts['account']}/models/{parts['id']}"
        query = dict(request.query_params)
        check = uploads.check_ticket
        ticket = await run_in_threadpool(check, self._platform, method, model, parts["filename"], query)
        serve: Callable[[Request, Ticket], Awaitable[Response]] = {
            "GET": self._get,
            "POST": self._begin,
            "PUT": self._put_part if ticket.upload else self._put_whole,
        }[method]
        try:
            return await serve(request, ticket)
        except BegunAnew:
            raise _begun_anew(ticket) from None

    async def _get(self, request: Request, ticket: Ticket) -> Response:
        path = self._store.path(ticket.folder, ticket.filename)
        if not path.is_file():
            raise ApiError(Code.NOT_FOUND, f"file {ticket.filename!r} of model {ticket.model} is gone")
        headers = {"etag": f'"{ticket.sha256}"', **_digest_header(ticket.sha256)}
        return _Download(path, media_type="application/octet-stream", headers=headers)

    async def _put_whole(self, request: Request, ticket: Ticket) -> Response:
        announced = request.headers.get("content-length")
        if announced is not None and announced != str(ticket.size):
            raise _wrong_size(ticket, announced)
        if "content-range" in request.headers:
            raise ApiError(
                Code.INVALID_ARGUMENT,
                "this URL takes the file in one piece, without Content-Range",
                hint="ask for the upload endpoint with enableResumableUpload to send parts",
            )
        if ticket.sha256 is not None:
            await run_in_threadpool(uploads.reopen, self._platform, ticket)
        path = self._store.arriving_whole(ticket.folder, ticket.filename, random_id(16))
        try:
            async with self._arrival(path) as arrival:
                await _receive(request, arrival, skip=0, limit=ticket.size)
                if arrival.size != ticket.size:
                    raise _wrong_size(ticket, str(arrival.size))
                return await self._finish(ticket, arrival)
        finally:
            self._store.drop(path)

    async def _begin(self, request: Request, ticket: Ticket) -> Response:
        if request.headers.get(RESUMABLE) != "start":
            raise ApiError(
                Code.INVALID_ARGUMENT, f"this URL begins a resumable upload: send the header {RESUMABLE}: start"
            )
        origin = f"{request.url.scheme}://{request.url.netloc}"
        session = await run_in_threadpool(uploads.begin_session, self._platform, ticket, origin)
        return Response(status_code=201, headers={"location": session})

    async def _put_part(self, request: Request, ticket: Ticket) -> Response:
        path = self._store.arriving(ticket.folder, ticket.filename, ticket.upload)
        async with self._alone(path):
            # One that is complete has left; the question costs a look into the database, so it is asked of no other.
            if not path.exists():
                self._store.require_current(path)
                sha256 = await run_in_threadpool(uploads.arrived_hash, self._platform, ticket)
                if sha256 is not None:
                    return _complete(sha256)
            span = _content_range(request, ticket)
            async with self._arrival(path, self._hashes.pop(path, None)) as arrival:
                try:
                    if span is not None and span[0] <= arrival.size:
                        start, end = span
                        await _receive(request, arrival, skip=arrival.size - start, limit=end + 1)
                finally:
                    self._remember(path, arrival)
                if arrival.size == ticket.size:
                    answer = await self._finish(ticket, arrival)
                    self._hashes.pop(path, None)
                    return answer
                # Not synced: what a power cut takes away is asked for again, as `size` is that of the file.
                reached = {"range": f"bytes=0-{arrival.size - 1}"} if arrival.size else {}
                return Response(status_code=308, headers=reached)

    def _remember(self, path: Path, arrival: Arrival) -> None:
        """Keep the hash of an upload for its next part, and of those that fell silent only the latest."""
        if arrival.hash_so_far is not None:
            self._hashes[path] = arrival.hash_so_far
        while len(self._hashes) > _HASHES_KEPT:
            del self._hashes[next(iter(self._hashes))]

    async def _finish(self, ticket: Ticket, arrival: Arrival) -> Response:
        def finish() -> str:
            arrival.sync()
            sha256 = arrival.sha256()
            uploads.finish(self._platform, ticket, arrival.path, sha256)
            return sha256

        return _complete(await run_in_threadpool(finish))

    @asynccontextmanager
    async def _arrival(self, path: Path, known: HashSoFar | None = None) -> AsyncIterator[Arrival]:
        try:
            arrival = await run_in_threadpool(Arrival, path, known)
            try:
                yield arrival
            finally:
                arrival.close()
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise ApiError(Code.RESOURCE_EXHAUSTED, "the disk of the platform is full") from error
            raise

    @asynccontextmanager
    async def _alone(self, path: Path) -> AsyncIterator[None]:
        """No other part of this upload is being written: that of a connection that broke ends soon."""
        lock = self._writing.setdefault(path, asyncio.Lock())
        try:
            async with asyncio.timeout(_BUSY_SECONDS):
                await lock.acquire()
        except TimeoutError:
            raise ApiError(Code.ABORTED, "another part of this upload is being written; try again") from None
        try:
            yield
        finally:
            lock.release()


async def _receive(request: Request, arrival: Arrival, *, skip: int, limit: int) -> None:
    """Append the body, less its first `skip` bytes, until the file has `limit`; INVALID_ARGUMENT if there is more.

    What came before a connection broke stays.
    """
    async with aclosing(_pieces(request)) as pieces:
        async for piece in pieces:
            passed = min(skip, len(piece))
            skip -= passed
            if arrival.size + len(piece) - passed > limit:
                raise ApiError(Code.INVALID_ARGUMENT, f"more bytes came than were announced; the file ends at {limit}")
            await run_in_threadpool(arrival.append, memoryview(piece)[passed:])


async def _pieces(request: Request) -> AsyncGenerator[bytes]:
    """The body in pieces of about a MiB. ClientDisconnect when it breaks off, after all that came."""
    held: list[bytes] = []
    size = 0
    broken: ClientDisconnect | None = None
    try:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size >= PIECE:
                    yield b"".join(held)
                    held, size = [], 0
    except ClientDisconnect as error:
        broken = error
    if size:
        yield b"".join(held)
    if broken is not None:
        raise broken


async def _drain(request: Request) -> bool:
    """Read what is still coming before a refusal goes out: its sender would see the connection reset instead.

    Not from those who ask before they send, and not without limit. Returns whether all of the body was read.
    """
    if "expect" in request.headers:
        return False
    left = _DRAINED_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS), aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    return False
    except (ClientDisconnect, TimeoutError):
        return False
    except RuntimeError:
        # So starlette says that the body was read to its end before.
        return True
    return True


def _complete(sha256: str) -> Response:
    return JSONResponse({}, headers=_digest_header(sha256))


def _digest_header(sha256: str | None) -> dict[str, str]:
    """RFC 9530: the hash of the whole file, in the answer to any part of it."""
    if sha256 is None:
        return {}
    return {"repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"}


class _Download(FileResponse):
    """Starlette's, ranges and all, in pieces of a size that the disk and the network like."""

    chunk_size = PIECE


def _content_range(request: Request, ticket: Ticket) -> tuple[int, int] | None:
    """(first, last) byte of the part that comes; None when it is only asked how much is there."""
    text = request.headers.get("content-range")
    if text is None:
        return (0, ticket.size - 1)
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ApiError(Code.INVALID_ARGUMENT, f"Content-Range {text[:80]!a} is neither 'bytes A-B/N' nor 'bytes */N'")
    first, last, total = match.groups()
    if total != "*" and int(total) != ticket.size:
        raise _wrong_size(ticket, total)
    if first is None:
        return None
    if not int(first) <= int(last) < ticket.size:
        raise ApiError(Code.INVALID_ARGUMENT, f"Content-Range {text!a} lies outside the file's {ticket.size} bytes")
    length = request.headers.get("content-length")
    if length is not None and length != str(int(last) - int(first) + 1):
        raise ApiError(
            Code.INVALID_ARGUMENT, f"Content-Range {text!a} and Content-Length {length} contradict each other"
        )
    return int(first), int(last)


def _begun_anew(ticket: Ticket) -> ApiError:
    return ApiError(
        Code.ABORTED,
        f"somebody else uploads {ticket.model}: their upload of {ticket.filename!r} began after this one and ended it",
        hint=f"firectl model get {ticket.model} shows when theirs is done; to send yours all the same, run it again",
        reason=Reason.UPLOAD_SUPERSEDED,
    )


def _wrong_size(ticket: Ticket, said: str) -> ApiError:
    return ApiError(
        Code.INVALID_ARGUMENT, f"file {ticket.filename!r} was announced with {ticket.size} bytes, these are {said}"
    )
