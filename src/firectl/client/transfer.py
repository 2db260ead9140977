"""Sends a model's files: to signed URLs, several at once, streamed from disk, large ones in parts that can be repeated.

What is there already, from this run or one before, is not sent again; what arrived is compared with what was sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.addresses import Addresses, checked
from firectl.client.files import LocalFile, read_range, scan
from firectl.client.hashes import MD5, SHA256, FileHash, stated
from firectl.client.http import httpx
from firectl.client.journal import Journal
from firectl.client.meter import Meter, Progress
from firectl.client.parallel import Crew
from firectl.client.sender import Answer, Outgoing
from firectl.client.wait import passes
from firectl.errors import ApiError, Code, NetworkError
from firectl.schemas.model import BEGUN_ANEW, ValidateUpload

if TYPE_CHECKING:
    from firectl.client.client import Client

RESUMABLE_ABOVE = 8 * 1024 * 1024
PART = 8 * 1024 * 1024
"""Bytes that may travel twice, and of a part of a resumable upload; the protocol wants a multiple of 256 KiB.

All that is left goes as one part to a server that says of a part that breaks off that it keeps what came of it, but for
so many bytes or fewer.
"""
KEEPS_ALL_BUT = "x-keeps-all-but"
SECONDS = 120.0
"""How long a server may be silent while bytes go to it, or after the last one."""
STARTS = 3
"""How often a file is begun: a session can vanish, and bytes can arrive as others."""
INCOMPLETE = frozenset({308})
GONE = frozenset({401, 403, 404, 410})
LENGTH_RANGE = "x-goog-content-length-range"


def upload(
    client: Client,
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
        done = client.models.validate_upload(name, timeout=validate_timeout)
    except ApiError as error:
        if error.code is not Code.FAILED_PRECONDITION or not upload.taken_on_trust:
            raise
        # What an earlier run had sent may be gone since, and only this call would say so.
        upload.journal.forget()
        upload.send()
        done = client.models.validate_upload(name, timeout=validate_timeout)
    upload.journal.forget()
    return done


class Upload:
    """The files of one folder on their way to one model.

    `taken_on_trust`: files that were not sent although the server did not say that it has them.
    """

    def __init__(
        self,
        client: Client,
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
        ask = partial(client.models.get_upload_endpoint, name, sizes, enable_resumable_upload=self._resumable)
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
            self._meter.had(file.name, file.size)
            return
        answer: Answer | None = None
        for start in range(STARTS):
            hash = self._hash(file, self._algorithm)
            answer = self._in_parts(file, hash, kept=start == 0) if self._resumable else self._whole(file, hash)
            self._meter.at(file.name, file.size)
            if answer is None:
                continue
            there = stated(answer.headers).get(self._algorithm)
            if there is None or there == hash.digest():
                if self._addresses.given.filename_to_sha256 is None:
                    self.journal.sent(file, self._algorithm, hash.digest())
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
            return file.name in told and self._hash(file, SHA256).digest() == told[file.name]
        entry = self.journal.of(file)
        if entry is None or entry.digest is None or entry.algorithm not in (MD5, SHA256):
            return False
        if entry.stamp[1:2] != [file.size] or self._hash(file, entry.algorithm).digest() != entry.digest:
            return False
        self.taken_on_trust.append(file.name)
        return True

    def _hash(self, file: LocalFile, algorithm: str) -> FileHash:
        return FileHash(file, algorithm, self._crew.hashers, self._crew.check)

    def _whole(self, file: LocalFile, hash: FileHash) -> Answer:
        def put(url: httpx.URL) -> Answer:
            headers = {"Content-Length": str(file.size), **_signed_headers(url, file)}
            content = partial(self._bytes, file, hash, 0, file.size)
            return self._exchange("PUT", file, url, headers, content, self._client.max_retries)

        return self._addresses.use(file.name, put)

    def _in_parts(self, file: LocalFile, hash: FileHash, *, kept: bool) -> Answer | None:
        """The answer that says that the file is complete; None when the session was lost on the way."""
        entry = self.journal.of(file) if kept else None
        try:
            if entry is not None and entry.session is not None and entry.stamp == list(file.stamp):
                session = _Session(checked(entry.session, file.name, self._api, self._api))
                try:
                    reached = self._ask(file, session)
                except ApiError as error:
                    over = error.http_status in {400, *GONE} or error.reason == BEGUN_ANEW
                    if isinstance(error, NetworkError) or not over:
                        raise
                    return self._from_start(file, hash)
                if isinstance(reached, int):
                    self._meter.had(file.name, reached)
                    hash.up_to(reached)
                return self._parts(file, hash, session, reached)
            return self._from_start(file, hash)
        except _Gone:
            return None

    def _from_start(self, file: LocalFile, hash: FileHash) -> Answer:
        session = self._addresses.use(file.name, partial(self._begin, file))
        self.journal.began(file, str(session.url))
        return self._parts(file, hash, session, 0 if file.size else self._ask(file, session))

    def _begin(self, file: LocalFile, url: httpx.URL) -> _Session:
        start = {"x-goog-resumable": "start", "Content-Length": "0", **_signed_headers(url, file)}
        begun = self._exchange("POST", file, url, start, None, self._client.max_retries)
        session = _Session(checked(begun.headers.get("location"), file.name, url, self._api))
        session.heard(begun)
        return session

    def _reached(self, file: LocalFile, session: _Session) -> int | Answer:
        """As `_ask`; _Gone when the session went with the connection."""
        try:
            return self._ask(file, session)
        except ApiError as error:
            if error.http_status in GONE and not isinstance(error, NetworkError):
                raise _Gone from error
            raise

    def _parts(self, file: LocalFile, hash: FileHash, session: _Session, reached: int | Answer) -> Answer:
        failed = 0
        in_parts = False
        while isinstance(reached, int):
            offset = reached
            whole = session.keeps_what_came and not in_parts
            try:
                reached = self._part(file, hash, session, offset, file.size if whole else offset + PART)
            except ApiError as error:
                if error.http_status in GONE and not isinstance(error, NetworkError):
                    raise _Gone from error
                failed += 1
                if not passes(error) or error.reason == BEGUN_ANEW or failed > self._client.max_retries:
                    raise
                # An answer that says why not gets through to who has sent all: of a part, the server waits for the end.
                in_parts = True
                self._crew.sender.pause(failed)
                reached = self._reached(file, session)
            else:
                if isinstance(reached, int) and reached <= offset:
                    stuck = f"unexpected answer: the server does not take {file.name} past {offset} bytes"
                    raise NetworkError(Code.UNKNOWN, stuck)
                failed = 0
        return reached

    def _part(self, file: LocalFile, hash: FileHash, session: _Session, offset: int, end: int) -> int | Answer:
        """Sends the part at `offset`; where the next one starts, or the answer that says that the file is complete."""
        end = min(end, file.size)
        headers = {"Content-Length": str(end - offset), "Content-Range": f"bytes {offset}-{end - 1}/{file.size}"}
        content = partial(self._bytes, file, hash, offset, end)
        return _reached(self._exchange("PUT", file, session.url, headers, content, 0, accept=INCOMPLETE))

    def _ask(self, file: LocalFile, session: _Session) -> int | Answer:
        """How much has arrived: the offset to go on from, or the answer that says that the file is complete."""
        headers = {"Content-Length": "0", "Content-Range": f"bytes */{file.size}"}
        answer = self._exchange("PUT", file, session.url, headers, None, self._client.max_retries, accept=INCOMPLETE)
        session.heard(answer)
        return _reached(answer)

    def _bytes(self, file: LocalFile, hash: FileHash, start: int, end: int) -> Generator[bytes]:
        sent = start
        self._crew.check()
        self._meter.at(file.name, sent)
        # Closed by us: an error that is kept would keep the file open.
        with contextlib.closing(read_range(file, start, end)) as chunks:
            for chunk in chunks:
                self._crew.check()
                hash.feed(sent, chunk)
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


@dataclass
class _Session:
    """A resumable upload as the server has begun it. `keeps_what_came`: of a part that breaks off, as it says."""

    url: httpx.URL
    keeps_what_came: bool = False

    def heard(self, answer: Answer) -> None:
        said = answer.headers.get(KEEPS_ALL_BUT, "")
        self.keeps_what_came = said.isdecimal() and len(said) < 20 and int(said) <= PART


class _Gone(Exception):
    """The server knows the session no more: the file is to be begun anew."""


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
