"""Fetches a model's files from signed URLs: several at once. A file appears at its path only when it is complete and
its hash, if the server states one, is right.

An interrupted download is resumed: what arrived is kept in a hidden file beside the final path.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.http.connections import httpx
from firectl.client.http.retry import is_transient
from firectl.client.http.sender import HttpRequest, Sender, StreamedResponse
from firectl.client.transfer.addresses import Addresses
from firectl.client.transfer.endpoints import download_endpoint
from firectl.client.transfer.files import target
from firectl.client.transfer.hashes import stated
from firectl.client.transfer.meter import Meter, TransferProgress
from firectl.client.transfer.part_file import PartFile, RemoteFile, has_content
from firectl.client.transfer.upload import SECONDS, STARTS
from firectl.client.transfer.worker_pool import WorkerPool
from firectl.errors import ApiError, Code, InputError, NetworkError

if TYPE_CHECKING:
    from firectl.client.api import Api

_CONTENT_RANGE = re.compile(r"bytes (?:\d{1,18}-\d{1,18}|\*)/(\d{1,18})")
NO_SUCH_RANGE = 416
"""The HTTP status with which a server answers a request for the first byte of an empty file."""


@dataclass(frozen=True)
class Downloaded:
    """The files of a model in a folder: `written` by this run, or already `there` with the same content."""

    written: tuple[Path, ...]
    there: tuple[Path, ...]


class Download:
    """The download of the model `name` (a full name) to a folder. See Models.download."""

    def __init__(
        self, client: Api, name: str, folder: Path, on_progress: Callable[[TransferProgress], None] | None
    ) -> None:
        _require_folder(name, folder)
        self._client = client
        self._addresses = Addresses(client.base_url, partial(download_endpoint, client, name))
        given = self._addresses.given
        _check_together(given.filename_to_signed_urls)
        self._paths = {file: target(folder, file) for file in sorted(given.filename_to_signed_urls)}
        sizes, hashes = given.filename_to_size or {}, given.filename_to_sha256 or {}
        self._remotes = {
            file: RemoteFile(size=int(sizes[file]), digests={"sha256": hashes[file]})
            for file in self._paths
            if file in sizes and file in hashes
        }
        known = {file: remote.size for file, remote in self._remotes.items()}
        self._meter = Meter({file: known.get(file) for file in self._paths}, on_progress)
        self._there: set[str] = set()

    def fetch(self) -> Downloaded:
        with WorkerPool(self._client) as self._pool:
            # Get all sizes first, so that the progress can show the total.
            self._pool.run(partial(self._look, file) for file in self._paths if file not in self._remotes)
            by_size = sorted(self._paths, key=lambda file: self._remotes[file].size, reverse=True)
            self._pool.run(partial(self._fetch, file) for file in by_size)
        return Downloaded(
            written=tuple(path for file, path in self._paths.items() if file not in self._there),
            there=tuple(path for file, path in self._paths.items() if file in self._there),
        )

    def _look(self, file: str) -> None:
        """Request the first byte of a file, and read the file's size and hash from the answer."""

        def look(url: httpx.URL) -> RemoteFile:
            with self._open(file, url, {"Range": "bytes=0-0"}, self._client.max_retries) as answer:
                return _remote(file, answer)

        self._remotes[file] = self._addresses.use(file, look)
        self._meter.set_size(file, self._remotes[file].size)

    def _fetch(self, file: str) -> None:
        path, remote = self._paths[file], self._remotes[file]
        try:
            if has_content(path, remote, self._pool.check):
                self._meter.at(file, remote.size, moved=False)
                self._there.add(file)
                return
            for _ in range(STARTS):
                with closing(PartFile(path, remote)) as part:
                    self._meter.at(file, part.size, moved=False)
                    self._fill(file, part)
                    if part.enter(self._pool.check):
                        return
        except OSError as error:
            raise InputError(f"{path} cannot be written: {os.strerror(error.errno or 0).lower()}") from None
        raise ApiError(
            Code.DATA_LOSS,
            f"{file} was downloaded {STARTS} times, each time with a hash that differs from the server's",
            hint="its copy on the server may be damaged: upload the model again",
        )

    def _fill(self, file: str, part: PartFile) -> None:
        """Fetch the missing bytes, and resume after a broken connection."""
        failed = 0
        while part.size < part.remote.size:
            before = part.size
            try:
                self._addresses.use(file, partial(self._rest, file, part))
            except ApiError as error:
                failed = 1 if part.size > before else failed + 1
                if not is_transient(error) or failed > self._client.max_retries:
                    raise
                self._pool.sender.pause(failed)

    def _rest(self, file: str, part: PartFile, url: httpx.URL) -> None:
        remote = part.remote
        if part.size and not remote.has_ranges:
            part.clear()
            self._meter.at(file, 0)
        headers = {"Range": f"bytes={part.size}-{remote.size - 1}"} if part.size else {}
        if remote.etag and part.size:
            headers["If-Match"] = remote.etag
        with self._open(file, url, headers) as answer:
            _check_answer(file, answer, part)
            for chunk in answer.chunks():
                self._pool.check()
                if part.size + len(chunk) > remote.size:
                    raise NetworkError(
                        Code.UNKNOWN, f"unexpected answer: expected {remote.size} bytes of {file}, got more"
                    )
                part.append(chunk)
                self._meter.at(file, part.size)
        if part.size < remote.size:
            raise NetworkError(Code.UNAVAILABLE, f"the answer ended before {file} was complete")

    def _open(self, file: str, url: httpx.URL, headers: Mapping[str, str], max_retries: int = 0) -> StreamedResponse:
        self._pool.check()
        return open_file(self._pool.sender, file, url, headers, max_retries)


def open_file(
    sender: Sender, file: str, url: httpx.URL, headers: Mapping[str, str], max_retries: int
) -> StreamedResponse:
    """Send a GET for a file, without compression, and return the answer before its body is read."""
    request = HttpRequest(
        method="GET",
        url=url,
        what=f"GET {file}",
        headers={"Accept-Encoding": "identity", **headers},
        timeout=SECONDS,
        max_retries=max_retries,
        accept=frozenset({NO_SUCH_RANGE}) if headers.get("Range") == "bytes=0-0" else frozenset(),
    )
    return sender.open(request)


def size_of_whole(answer: StreamedResponse) -> int | None:
    """Return the size of the whole file, from the answer to a request for a range of it."""
    span = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(span[1]) if span is not None else None


def _remote(file: str, answer: StreamedResponse) -> RemoteFile:
    length = answer.headers.get("content-length", "")
    size = size_of_whole(answer)
    if answer.status == 200:
        size = int(length) if length.isdecimal() else None
    if size is None or (size and answer.status == NO_SUCH_RANGE):
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the server does not say how large {file} is")
    etag = answer.headers.get("etag", "")
    return RemoteFile(
        size=size,
        digests=stated(answer.headers),
        etag=etag if etag.startswith('"') else None,
        has_ranges=answer.status == 206,
    )


def _check_answer(file: str, answer: StreamedResponse, part: PartFile) -> None:
    """Raise FAILED_PRECONDITION if the answer is not the missing rest of the version in `part`."""
    remote = part.remote
    etag = answer.headers.get("etag")
    other = remote.etag is not None and etag is not None and etag != remote.etag
    said = stated(answer.headers)
    other = other or any(said[name] != remote.digests[name] for name in said.keys() & remote.digests.keys())
    if part.size:
        expected = f"bytes {part.size}-{remote.size - 1}/{remote.size}"
        fits = answer.status == 206 and answer.headers.get("content-range") == expected
    else:
        fits = answer.status == 200 and answer.headers.get("content-length") in (None, str(remote.size))
    if other or not fits:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"{file} has changed on the server since the download began",
            hint="start the download again",
        )


def _check_together(names: Mapping[str, str]) -> None:
    """Raise InputError if two names are the same on some file systems (differ only in case or Unicode form)."""
    seen: dict[str, str] = {}
    for name in sorted(names):
        same = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if same != name:
            raise InputError(f"the server names two files that some file systems take for one: {same!r} and {name!r}")


def _require_folder(name: str, folder: Path) -> None:
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
        raise InputError(
            f"{there} is a file, not a folder",
            hint=f"give a folder, new or existing: firectl model download {name} {shlex.quote(f'{there}-files')}",
        )
