"""Sends a model's files: to signed URLs, several at once, streamed from disk, large ones in parts that can be repeated.

What is there already, from this run or one before, is not sent again; what arrived is compared with what was sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.http.connections import httpx
from firectl.client.http.retry import is_transient
from firectl.client.http.sender import Answer, Outgoing
from firectl.client.transfer.addresses import Addresses, checked
from firectl.client.transfer.endpoints import upload_endpoint, validate_upload
from firectl.client.transfer.files import LocalFile, read_range, scan
from firectl.client.transfer.hashes import MD5, SHA256, hashed, stated
from firectl.client.transfer.journal import Entry, Journal
from firectl.client.transfer.meter import Meter, Progress
from firectl.client.transfer.parallel import Crew
from firectl.errors import ApiError, Code, NetworkError
from firectl.schemas.model import ValidateUpload
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.client.api import Api

RESUMABLE_ABOVE = 8 * 1024 * 1024
PART = 8 * 1024 * 1024
"""Bytes of one part of a resumable upload, and that travel twice at most; the protocol wants a multiple of 256 KiB."""
SECONDS = 120.0
"""How long a server may be silent while bytes go to it, or after the last one."""
STARTS = 3
"""How often a file is begun: a session can vanish, and bytes can arrive as others."""
INCOMPLETE = frozenset({308})
GONE = frozenset({401, 403, 404, 410})
LENGTH_RANGE = "x-goog-content-length-range"


def upload(
    client: Api,
    name: str,
    folder: Path,
    *,
    resumable: bool | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    validate_timeout: float = 1800.0,
) -> ValidateUpload:
    """Sends what the model `name` (a full name) lacks of the files of `folder`, and has the server validate them.

    `resumable` None: when a file is above 8 MiB. `validate_timeout`: seconds that the server may take to look at them.
    InputError for a folder that cannot be sent or a file that changes meanwhile; ApiError when the server refuses,
    NetworkError when it stays out of reach; what arrived until then is not sent again by the next call.
    """
    files = scan(folder)
    upload = Upload(client, name, files, resumable, on_progress)
    upload.send()
    try:
        done = validate_upload(client, name, validate_timeout)
    except ApiError as error:
        if error.code is not Code.FAILED_PRECONDITION or not upload.taken_on_trust:
            raise
        # What an earlier run had sent may be gone since, and only this call would say so.
        upload.journal.forget()
        upload.send()
        done = validate_upload(client, name, validate_timeout)
    upload.journal.forget()
    return done


class Upload:
    """The files of one folder on their way to one model.

    `taken_on_trust`: files that were not sent although the server did not say that it has them.
    """

    def __init__(
        self,
        client: Api,
        name: str,
        files: Sequence[LocalFile],
        resumable: bool | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._client = client
        self._files = files
        self._resumable = any(file.size > RESUMABLE_ABOVE for file in files) if resumable is None else resumable
        self._on_progress = on_progress
        sizes = {file.name: file.size for file in files}
        ask = partial(upload_endpoint, client, name, sizes, self._resumable)
        self._addresses = Addresses(client.base_url, ask)
        self._api = httpx.URL(client.base_url)
        self.journal = Journal(client.base_url, name)
        self.taken_on_trust: list[str] = []

    def send(self) -> None:
        """Send what is not there. The largest first: nothing then waits for them alone at the end."""
        self.taken_on_trust = []
        self._meter = Meter({file.name: file.size for file in self._files}, self._on_progress)
        with Crew(self._client) as self._crew:
            self._crew.run(
                partial(self._send, file) for file in sorted(self._files, key=lambda file: file.size, reverse=True)
            )

    @property
    def _algorithm(self) -> str:
        """What the server will compare with: ours says so by naming the hashes it has, even none; Google's has md5."""
        return MD5 if self._addresses.given.filename_to_sha256 is None else SHA256

    def _send(self, file: LocalFile) -> None:
        if self._is_there(file):
            self._meter.at(file.name, file.size, travelled=False)
            return
        answer: Answer | None = None
        for start in range(STARTS):
            answer = self._in_parts(file, kept=start == 0) if self._resumable else self._whole(file)
            if answer is None:
                continue
            self._meter.at(file.name, file.size)
            there = stated(answer.headers).get(self._algorithm)
            digest = self._hash(file, self._algorithm)
            if there in (None, digest):
                if self._algorithm == MD5:
                    self.journal.add(Entry(file.name, list(file.stamp), algorithm=MD5, digest=digest))
                return
        if answer is None:
            raise ApiError(
                Code.ABORTED,
                f"the server dropped the upload of {file.name} before its end, {STARTS} times over",
                hint="does somebody else upload this model? To go on, run it again",
            )
        raise ApiError(
            Code.DATA_LOSS,
            f"{file.name} does not arrive as it was sent: the server has other bytes, {STARTS} times over",
            hint="something between here and there changes them: try another network",
        )

    def _is_there(self, file: LocalFile) -> bool:
        """Whether the server has the whole file, byte for byte as it is here."""
        told = self._addresses.given.filename_to_sha256
        if told is not None:
            return file.name in told and self._hash(file, SHA256) == told[file.name]
        entry = self.journal.of(file)
        if entry is None or entry.digest is None or self._hash(file, entry.algorithm or MD5) != entry.digest:
            return False
        self.taken_on_trust.append(file.name)
        return True

    def _hash(self, file: LocalFile, algorithm: str) -> str:
        return hashed(read_range(file, 0, file.size), algorithm, self._crew.check)

    def _whole(self, file: LocalFile) -> Answer:
        def put(url: httpx.URL) -> Answer:
            headers = {"Content-Length": str(file.size), **_signed_headers(url, file)}
            content = partial(self._bytes, file, 0, file.size)
            return self._exchange("PUT", file, url, headers, content, self._client.max_retries)

        return self._addresses.use(file.name, put)

    def _in_parts(self, file: LocalFile, *, kept: bool) -> Answer | None:
        """The answer that says that the file is complete; None when the server has dropped the session."""
        entry = self.journal.of(file) if kept else None
        try:
            if entry is not None and entry.session is not None and entry.stamp == list(file.stamp):
                session = checked(entry.session, file.name, self._api, self._api)
                try:
                    reached = self._ask(file, session)
                except ApiError as error:
                    # Of an earlier run: it may be damaged, and an upload that began since may be over too.
                    if error.reason == Reason.UPLOAD_SUPERSEDED or (
                        error.http_status == 400 and not isinstance(error, NetworkError)
                    ):
                        return None
                    raise
                there = reached if isinstance(reached, int) else file.size
                self._meter.at(file.name, there, travelled=False)
            else:
                session = self._addresses.use(file.name, partial(self._begin, file))
                self.journal.add(Entry(file.name, list(file.stamp), session=str(session)))
                reached = 0 if file.size else self._ask(file, session)
            return self._parts(file, session, reached)
        except ApiError as error:
            if error.http_status in GONE and not isinstance(error, NetworkError):
                return None
            raise

    def _begin(self, file: LocalFile, url: httpx.URL) -> httpx.URL:
        """Where the parts go."""
        start = {"x-goog-resumable": "start", "Content-Length": "0", **_signed_headers(url, file)}
        begun = self._exchange("POST", file, url, start, None, self._client.max_retries)
        return checked(begun.headers.get("location"), file.name, url, self._api)

    def _parts(self, file: LocalFile, session: httpx.URL, reached: int | Answer) -> Answer:
        failed = 0
        while isinstance(reached, int):
            offset = reached
            try:
                reached = self._part(file, session, offset)
            except ApiError as error:
                failed += 1
                if (
                    not is_transient(error)
                    or error.reason == Reason.UPLOAD_SUPERSEDED
                    or failed > self._client.max_retries
                ):
                    raise
                self._crew.sender.pause(failed)
                reached = self._ask(file, session)
            else:
                if isinstance(reached, int) and reached <= offset:
                    stuck = f"unexpected answer: the server does not take {file.name} past {offset} bytes"
                    raise NetworkError(Code.UNKNOWN, stuck)
                failed = 0
        return reached

    def _part(self, file: LocalFile, session: httpx.URL, offset: int) -> int | Answer:
        """Sends the part at `offset`; where the next one starts, or the answer that says that the file is complete."""
        end = min(offset + PART, file.size)
        headers = {"Content-Length": str(end - offset), "Content-Range": f"bytes {offset}-{end - 1}/{file.size}"}
        content = partial(self._bytes, file, offset, end)
        return _reached(self._exchange("PUT", file, session, headers, content, 0, accept=INCOMPLETE))

    def _ask(self, file: LocalFile, session: httpx.URL) -> int | Answer:
        """How much has arrived: the offset to go on from, or the answer that says that the file is complete."""
        headers = {"Content-Length": "0", "Content-Range": f"bytes */{file.size}"}
        return _reached(
            self._exchange("PUT", file, session, headers, None, self._client.max_retries, accept=INCOMPLETE)
        )

    def _bytes(self, file: LocalFile, start: int, end: int) -> Generator[bytes]:
        sent = start
        self._crew.check()
        self._meter.at(file.name, sent)
        # Closed by us: an error that is kept would keep the file open.
        with contextlib.closing(read_range(file, start, end)) as chunks:
            for chunk in chunks:
                self._crew.check()
                yield chunk
                sent += len(chunk)
                self._meter.at(file.name, sent)

    def _exchange(
        self,
        method: str,
        file: LocalFile,
        url: httpx.URL,
        headers: Mapping[str, str],
        content: Callable[[], Generator[bytes]] | None,
        max_retries: int,
        accept: frozenset[int] = frozenset(),
    ) -> Answer:
        self._crew.check()
        request = Outgoing(
            method=method,
            url=url,
            what=f"{method} {file.name}",
            headers=headers,
            content=content,
            repeatable=True,
            timeout=SECONDS,
            max_retries=max_retries,
            accept=accept,
        )
        answer = self._crew.sender.send(request)
        assert answer is not None, "only `settled` gives None"
        return answer


def _reached(answer: Answer) -> int | Answer:
    if answer.status != 308:
        return answer
    unit, _, span = answer.headers.get("range", "").partition("=")
    first, _, last = span.partition("-")
    return int(last) + 1 if unit == "bytes" and first == "0" and last.isdecimal() else 0


def _signed_headers(url: httpx.URL, file: LocalFile) -> dict[str, str]:
    """The headers that the URL was signed with, as far as they are the sender's to fill in."""
    headers = {"Content-Type": "application/octet-stream"}
    for key, value in url.params.multi_items():
        if key.lower() == "x-goog-signedheaders" and LENGTH_RANGE in value.lower().split(";"):
            headers[LENGTH_RANGE] = f"{file.size},{file.size}"
    return headers
