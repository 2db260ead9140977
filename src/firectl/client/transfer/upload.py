"""Sends a model's files to signed URLs: several at once, streamed from disk, large ones in resumable parts.

Skips files that the server already has, and compares hashes after each file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from firectl.client.http.connections import httpx
from firectl.client.http.retry import is_transient
from firectl.client.http.sender import HttpRequest, HttpResponse
from firectl.client.transfer.addresses import Addresses, checked, refused
from firectl.client.transfer.endpoints import upload_endpoint, validate_upload
from firectl.client.transfer.files import LocalFile, read_range
from firectl.client.transfer.hashes import MD5, SHA256, hashed, stated
from firectl.client.transfer.meter import Meter, TransferProgress
from firectl.client.transfer.upload_session import FileRecord, UploadSession
from firectl.client.transfer.worker_pool import WorkerPool
from firectl.errors import ApiError, Code, NetworkError
from firectl.schemas.model import ValidateUpload
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.client.api import Api

RESUMABLE_ABOVE = 8 * 1024 * 1024
PART = 8 * 1024 * 1024
"""Bytes of one part of a resumable upload. The protocol requires a multiple of 256 KiB."""
SECONDS = 120.0
"""Timeout of a request, in seconds: for each write, and for the answer after the last byte."""
STARTS = 3
"""How often to start the transfer of a file: sessions can be lost, and bytes can arrive changed."""
INCOMPLETE = 308
GONE = frozenset({401, 403, 404, 410})
"""HTTP statuses that mean that the server no longer has the resumable session."""
LENGTH_RANGE = "x-goog-content-length-range"
_NOTHING_ARRIVED = HttpResponse(status=INCOMPLETE, headers=httpx.Headers(), content=b"")


class Upload:
    """The upload of `files` to the model `name` (a full name). See Models.upload."""

    def __init__(
        self,
        client: Api,
        name: str,
        files: Sequence[LocalFile],
        resumable: bool | None,
        on_progress: Callable[[TransferProgress], None] | None,
    ) -> None:
        self._client = client
        self._files = sorted(files, key=lambda file: file.size, reverse=True)
        self._sizes = {file.name: file.size for file in files}
        self._resumable = self._files[0].size > RESUMABLE_ABOVE if resumable is None else resumable
        self._on_progress = on_progress
        ask = partial(upload_endpoint, client, name, self._sizes, self._resumable)
        self._addresses = Addresses(client.base_url, ask)
        self._api = httpx.URL(client.base_url)
        self._name = name
        self._session = UploadSession(client.base_url, name)
        self._unconfirmed: list[str] = []
        """Names of files that were skipped only because a local record, not the server, says that they arrived."""

    def run(self, validate_timeout: float) -> ValidateUpload:
        """Send the files that are missing on the server, and have the server validate all."""
        self.send()
        try:
            done = validate_upload(self._client, self._name, validate_timeout)
        except ApiError as error:
            if error.code is not Code.FAILED_PRECONDITION or not self._unconfirmed:
                raise
            # The server may have lost files of an earlier run. Only the validation shows that: send them again.
            self._session.forget()
            self.send()
            done = validate_upload(self._client, self._name, validate_timeout)
        self._session.forget()
        return done

    def send(self) -> None:
        """Send the missing files, the largest first, so that no long transfer starts last."""
        self._unconfirmed = []
        self._meter = Meter(self._sizes, self._on_progress)
        with WorkerPool(self._client) as self._pool:
            self._pool.run(partial(self._send, file) for file in self._files)

    def _send(self, file: LocalFile) -> None:
        if self._is_there(file):
            self._meter.at(file.name, file.size, moved=False)
            return
        # The local platform states sha256 hashes (the map may be empty). Other servers (Google's storage) state md5.
        algorithm = MD5 if self._addresses.given.filename_to_sha256 is None else SHA256
        answer: HttpResponse | None = None
        for start in range(STARTS):
            answer = self._send_in_parts(file, resume=start == 0) if self._resumable else self._send_whole(file)
            if answer is None:
                continue
            self._meter.at(file.name, file.size)
            arrived = stated(answer.headers).get(algorithm)
            digest = self._hash(file, algorithm)
            if arrived in (None, digest):
                if algorithm == MD5:
                    self._session.add(FileRecord(file.name, list(file.stamp), algorithm=MD5, digest=digest))
                return
        if answer is None:
            raise ApiError(
                Code.ABORTED,
                f"the server dropped the upload of {file.name} {STARTS} times before it was complete",
                hint="check that no one else uploads this model, then run the command again: it resumes",
            )
        raise ApiError(
            Code.DATA_LOSS,
            f"{file.name} was uploaded {STARTS} times, and the server's hash differed from the file's each time",
            hint="something on the way to the server changes the bytes: try another network",
        )

    def _is_there(self, file: LocalFile) -> bool:
        """Whether the server, or the record of an earlier upload, has the whole file with its present content."""
        stored = self._addresses.given.filename_to_sha256
        if stored is not None:
            return file.name in stored and self._hash(file, SHA256) == stored[file.name]
        record = self._session.of(file)
        if record is None or record.digest is None or self._hash(file, record.algorithm or MD5) != record.digest:
            return False
        self._unconfirmed.append(file.name)
        return True

    def _hash(self, file: LocalFile, algorithm: str) -> str:
        return hashed(read_range(file, 0, file.size), algorithm, self._pool.check)

    def _send_whole(self, file: LocalFile) -> HttpResponse:
        def put(url: httpx.URL) -> HttpResponse:
            headers = {"Content-Length": str(file.size), **_signed_headers(url, file)}
            return self._request("PUT", file, url, headers, content=partial(self._bytes, file, 0, file.size))

        return self._addresses.use(file.name, put)

    def _send_in_parts(self, file: LocalFile, *, resume: bool) -> HttpResponse | None:
        """Send a file in parts and return the last answer; None if the server no longer has the resumable session."""
        record = self._session.of(file) if resume else None
        answer = _NOTHING_ARRIVED
        try:
            if record is not None and record.session is not None and record.stamp == list(file.stamp):
                url = checked(record.session, file.name, self._api, self._api)
                try:
                    answer = self._ask(file, url)
                except ApiError as error:
                    # The record may be damaged, or a later upload has superseded the session.
                    if error.reason == Reason.UPLOAD_SUPERSEDED or refused(error, {400}):
                        return None
                    raise
                self._meter.at(file.name, _arrived(answer, file), moved=False)
            else:
                url = self._addresses.use(file.name, partial(self._begin, file))
                self._session.add(FileRecord(file.name, list(file.stamp), session=str(url)))
                if not file.size:
                    answer = self._ask(file, url)
            return self._send_parts(file, url, answer)
        except ApiError as error:
            if refused(error, GONE):
                return None
            raise

    def _begin(self, file: LocalFile, url: httpx.URL) -> httpx.URL:
        """Start a resumable session and return its URL."""
        start = {"x-goog-resumable": "start", "Content-Length": "0", **_signed_headers(url, file)}
        return checked(self._request("POST", file, url, start).headers.get("location"), file.name, url, self._api)

    def _send_parts(self, file: LocalFile, url: httpx.URL, answer: HttpResponse) -> HttpResponse:
        failed = 0
        while answer.status == INCOMPLETE:
            offset = _arrived(answer, file)
            try:
                answer = self._send_part(file, url, offset)
            except ApiError as error:
                failed += 1
                superseded = error.reason == Reason.UPLOAD_SUPERSEDED
                if not is_transient(error) or superseded or failed > self._client.max_retries:
                    raise
                self._pool.sender.pause(failed)
                answer = self._ask(file, url)
            else:
                if _arrived(answer, file) <= offset and answer.status == INCOMPLETE:
                    stuck = f"unexpected answer: the server does not take {file.name} past {offset} bytes"
                    raise NetworkError(Code.UNKNOWN, stuck)
                failed = 0
        return answer

    def _send_part(self, file: LocalFile, url: httpx.URL, offset: int) -> HttpResponse:
        end = min(offset + PART, file.size)
        headers = {"Content-Length": str(end - offset), "Content-Range": f"bytes {offset}-{end - 1}/{file.size}"}
        content = partial(self._bytes, file, offset, end)
        return self._request("PUT", file, url, headers, content=content, max_retries=0, accept=INCOMPLETE)

    def _ask(self, file: LocalFile, url: httpx.URL) -> HttpResponse:
        """Ask the server how many bytes have arrived, and return its answer."""
        headers = {"Content-Length": "0", "Content-Range": f"bytes */{file.size}"}
        return self._request("PUT", file, url, headers, accept=INCOMPLETE)

    def _bytes(self, file: LocalFile, start: int, end: int) -> Generator[bytes]:
        sent = start
        self._pool.check()
        self._meter.at(file.name, sent)
        # Close explicitly: a stored exception would keep the generator alive and the file open.
        with contextlib.closing(read_range(file, start, end)) as chunks:
            for chunk in chunks:
                self._pool.check()
                yield chunk
                sent += len(chunk)
                self._meter.at(file.name, sent)

    def _request(
        self,
        method: str,
        file: LocalFile,
        url: httpx.URL,
        headers: Mapping[str, str],
        *,
        content: Callable[[], Generator[bytes]] | None = None,
        max_retries: int | None = None,
        accept: int | None = None,
    ) -> HttpResponse:
        self._pool.check()
        request = HttpRequest(
            method=method,
            url=url,
            what=f"{method} {file.name}",
            headers=headers,
            content=content,
            timeout=SECONDS,
            max_retries=self._client.max_retries if max_retries is None else max_retries,
            accept=frozenset() if accept is None else frozenset({accept}),
        )
        return self._pool.sender.send(request)


def _arrived(answer: HttpResponse, file: LocalFile) -> int:
    """Return how many bytes of the file the server has, as its answer states."""
    if answer.status != INCOMPLETE:
        return file.size
    unit, _, span = answer.headers.get("range", "").partition("=")
    first, _, last = span.partition("-")
    return int(last) + 1 if unit == "bytes" and first == "0" and last.isdecimal() else 0


def _signed_headers(url: httpx.URL, file: LocalFile) -> dict[str, str]:
    """Return the headers that the URL's signature requires in the request."""
    headers = {"Content-Type": "application/octet-stream"}
    for key, value in url.params.multi_items():
        if key.lower() == "x-goog-signedheaders" and LENGTH_RANGE in value.lower().split(";"):
            headers[LENGTH_RANGE] = f"{file.size},{file.size}"
    return headers
