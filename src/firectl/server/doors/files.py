"""Uploads and downloads of a model's files over HTTP, with signed URLs.

An upload sends a file whole, or in parts by Google's resumable protocol. Bytes are written to disk as they arrive.
`control.models.uploads` decides whether a file is accepted, and when it is complete.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from firectl.errors import ApiError, Code, invalid
from firectl.names import random_id
from firectl.schemas.words import Reason
from firectl.server.control.models import uploads
from firectl.server.control.models.uploads import UploadPermit
from firectl.server.disk.files import FileStore, IncomingFile, UploadSuperseded, require_current
from firectl.server.doors.errors import error_response
from firectl.server.platform import Platform

if TYPE_CHECKING:
    from firectl.server.disk.files import HashSoFar

RESUMABLE = "x-goog-resumable"
PIECE = 1 << 20
"""Bytes per write and per read."""
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
    """Serves signed URLs. The platform has one instance, which lets one request at a time write a resumable upload."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._store = FileStore(platform.paths)
        self._writing: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._hashes: dict[Path, HashSoFar] = {}

    async def serve(self, request: Request) -> Response:
        """Serve the upload or download that the signed URL allows."""
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
        permit = await run_in_threadpool(uploads.check_permit, self._platform, method, model, parts["filename"], query)
        serve = {
            "GET": self._get,
            "POST": self._begin,
            "PUT": self._put_part if permit.upload else self._put_whole,
        }[method]
        try:
            return await serve(request, permit)
        except UploadSuperseded:
            raise _superseded(permit) from None

    async def _get(self, request: Request, permit: UploadPermit) -> Response:
        path = self._store.path(permit.folder, permit.filename)
        if not path.is_file():
            raise ApiError(Code.NOT_FOUND, f"file {permit.filename!r} of model {permit.model} is gone")
        headers = {"etag": f'"{permit.sha256}"', **_digest_header(permit.sha256)}
        return _Download(path, media_type="application/octet-stream", headers=headers)

    async def _put_whole(self, request: Request, permit: UploadPermit) -> Response:
        announced = request.headers.get("content-length")
        if announced is not None and announced != str(permit.size):
            raise _wrong_size(permit, announced)
        if "content-range" in request.headers:
            raise invalid(
                "this URL takes the file in one piece, without Content-Range",
                hint="ask for the upload endpoint with enableResumableUpload to send parts",
            )
        if permit.sha256 is not None:
            await run_in_threadpool(uploads.reopen, self._platform, permit)
        path = self._store.incoming(permit.folder, permit.filename, random_id(16), whole=True)
        try:
            async with self._open(path) as incoming:
                await _receive(request, incoming, skip=0, limit=permit.size)
                if incoming.size != permit.size:
                    raise _wrong_size(permit, str(incoming.size))
                return await self._finish(permit, incoming)
        finally:
            path.unlink(missing_ok=True)

    async def _begin(self, request: Request, permit: UploadPermit) -> Response:
        if request.headers.get(RESUMABLE) != "start":
            raise invalid(f"this URL starts a resumable upload: send the header {RESUMABLE}: start")
        origin = f"{request.url.scheme}://{request.url.netloc}"
        session = await run_in_threadpool(uploads.begin_session, self._platform, permit, origin)
        return Response(status_code=201, headers={"location": session})

    async def _put_part(self, request: Request, permit: UploadPermit) -> Response:
        path = self._store.incoming(permit.folder, permit.filename, permit.upload)
        async with self._exclusive(path):
            if not path.exists():  # the file is complete and in its model's folder, or a later upload began
                require_current(path)
                sha256 = await run_in_threadpool(uploads.arrived_hash, self._platform, permit)
                if sha256 is not None:
                    return _complete(sha256)
            span = _content_range(request, permit)
            async with self._open(path, self._hashes.pop(path, None)) as incoming:
                try:
                    if span is not None and span[0] <= incoming.size:
                        start, end = span
                        await _receive(request, incoming, skip=incoming.size - start, limit=end + 1)
                finally:
                    self._remember(path, incoming)
                if incoming.size == permit.size:
                    answer = await self._finish(permit, incoming)
                    self._hashes.pop(path, None)
                    return answer
                # The part is not synced: if a power cut makes the file shorter, the client sends the rest again.
                reached = {"range": f"bytes=0-{incoming.size - 1}"} if incoming.size else {}
                return Response(status_code=308, headers=reached)

    def _remember(self, path: Path, incoming: IncomingFile) -> None:
        """Keep the hash state of an upload for its next part. Only the latest `_HASHES_KEPT` states are kept."""
        if incoming.hash_so_far is not None:
            self._hashes[path] = incoming.hash_so_far
        while len(self._hashes) > _HASHES_KEPT:
            del self._hashes[next(iter(self._hashes))]

    async def _finish(self, permit: UploadPermit, incoming: IncomingFile) -> Response:
        def finish() -> str:
            incoming.sync()
            sha256 = incoming.sha256()
            uploads.finish(self._platform, permit, incoming.path, sha256)
            return sha256

        return _complete(await run_in_threadpool(finish))

    @asynccontextmanager
    async def _open(self, path: Path, known: HashSoFar | None = None) -> AsyncIterator[IncomingFile]:
        try:
            incoming = await run_in_threadpool(IncomingFile, path, known)
            try:
                yield incoming
            finally:
                incoming.close()
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise ApiError(Code.RESOURCE_EXHAUSTED, "the disk of the platform is full") from error
            raise

    @asynccontextmanager
    async def _exclusive(self, path: Path) -> AsyncIterator[None]:
        """Let one part of an upload be written at a time. ABORTED after `_BUSY_SECONDS` of waiting.

        An earlier part whose connection broke may still hold the lock for a short time.
        """
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


async def _receive(request: Request, incoming: IncomingFile, *, skip: int, limit: int) -> None:
    """Append the body without its first `skip` bytes. INVALID_ARGUMENT if the file would grow beyond `limit` bytes.

    If the connection breaks, the bytes that arrived before are kept.
    """
    async with aclosing(_pieces(request)) as pieces:
        async for piece in pieces:
            skipped = min(skip, len(piece))
            skip -= skipped
            if incoming.size + len(piece) - skipped > limit:
                raise invalid(f"more bytes came than were announced; the file ends at {limit}")
            await run_in_threadpool(incoming.append, memoryview(piece)[skipped:])


async def _pieces(request: Request) -> AsyncGenerator[bytes]:
    """Yield the body in pieces of about a MiB. When the connection breaks, ClientDisconnect after the last piece."""
    held: list[bytes] = []
    size = 0
    try:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size >= PIECE:
                    yield b"".join(held)
                    held, size = [], 0
    except ClientDisconnect:
        yield b"".join(held)
        raise
    if size:
        yield b"".join(held)


async def _drain(request: Request) -> bool:
    """Read the rest of a refused body, up to a limit. Return whether it was read to its end.

    If the body were not read, the client would get a connection reset instead of the error. A client that sent the
    header `Expect` has not sent its body yet, so nothing is read.
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
    except RuntimeError:  # starlette raises this when the body was already read to its end
        return True
    return True


def _complete(sha256: str) -> Response:
    return JSONResponse({}, headers=_digest_header(sha256))


def _digest_header(sha256: str | None) -> dict[str, str]:
    """Return the header of RFC 9530 with the hash of the whole file, also for a response to a part of the file."""
    return {"repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"} if sha256 else {}


class _Download(FileResponse):
    """A file response of Starlette, which also serves ranges, with larger pieces."""

    chunk_size = PIECE


def _content_range(request: Request, permit: UploadPermit) -> tuple[int, int] | None:
    """Return the positions of the first and last byte that this request sends; without Content-Range, the whole file.

    None if the request only asks how many bytes have arrived.
    """
    text = request.headers.get("content-range")
    if text is None:
        return (0, permit.size - 1)
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise invalid(f"Content-Range {text[:80]!a} is neither 'bytes A-B/N' nor 'bytes */N'")
    first, last, total = match.groups()
    if total != "*" and int(total) != permit.size:
        raise _wrong_size(permit, total)
    if first is None:
        return None
    if not int(first) <= int(last) < permit.size:
        raise invalid(f"Content-Range {text!a} is not a valid range of the file's {permit.size} bytes")
    length = request.headers.get("content-length")
    if length is not None and length != str(int(last) - int(first) + 1):
        raise invalid(f"Content-Range {text!a} and Content-Length {length} contradict each other")
    return int(first), int(last)


def _superseded(permit: UploadPermit) -> ApiError:
    return ApiError(
        Code.ABORTED,
        f"somebody else uploads {permit.model}: their upload of {permit.filename!r} began after this one and ended it",
        hint=f"firectl model get {permit.model} shows when theirs is done; to send yours anyway, run it again",
        reason=Reason.UPLOAD_SUPERSEDED,
    )


def _wrong_size(permit: UploadPermit, said: str) -> ApiError:
    return invalid(f"file {permit.filename!r} was announced with {permit.size} bytes, these are {said}")
