"""Fetches a model's files from signed URLs: several at once, each whole and hashed or not there.

What came before a download was cut off lies beside its place in a hidden file, and is not fetched again.
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
from firectl.client.http.sender import Incoming, Outgoing
from firectl.client.transfer.addresses import Addresses
from firectl.client.transfer.endpoints import download_endpoint
from firectl.client.transfer.files import target
from firectl.client.transfer.hashes import stated
from firectl.client.transfer.meter import Meter, Progress
from firectl.client.transfer.parallel import Crew
from firectl.client.transfer.partial import Partial, Remote, has_content
from firectl.client.transfer.upload import SECONDS, STARTS
from firectl.errors import ApiError, Code, InputError, NetworkError

if TYPE_CHECKING:
    from firectl.client.api import Api

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")
_EMPTY = frozenset({416})


@dataclass(frozen=True)
class Downloaded:
    """The files of a model in a folder: those `written`, and those that were `there` already with the same content."""

    written: tuple[Path, ...]
    there: tuple[Path, ...]


def download(
    client: Api, name: str, folder: Path, *, on_progress: Callable[[Progress], None] | None = None
) -> Downloaded:
    """Writes every file of the model `name` (a full name) below `folder`, in place of what is there.

    A file that is there already with the content that the server has is left alone. InputError when `folder` is a file,
    or the server names a file that would land outside it, or two that would be one, before any is fetched; ApiError for
    one that does not come as the server says it is, and FAILED_PRECONDITION when another download writes the same file.
    """
    _require_folder(name, folder)
    return Download(client, name, folder, on_progress).fetch()


class Download:
    """The files of one model on their way into one folder."""

    def __init__(self, client: Api, name: str, folder: Path, on_progress: Callable[[Progress], None] | None) -> None:
        self._client = client
        self._addresses = Addresses(client.base_url, partial(download_endpoint, client, name))
        given = self._addresses.given
        _check_together(given.filename_to_signed_urls)
        self._paths = {file: target(folder, file) for file in sorted(given.filename_to_signed_urls)}
        sizes, hashes = given.filename_to_size or {}, given.filename_to_sha256 or {}
        self._remotes = {
            file: Remote(size=int(sizes[file]), digests={"sha256": hashes[file]})
            for file in self._paths
            if file in sizes and file in hashes
        }
        known = {file: remote.size for file, remote in self._remotes.items()}
        self._meter = Meter({file: known.get(file) for file in self._paths}, on_progress)
        self._there: set[str] = set()

    def fetch(self) -> Downloaded:
        with Crew(self._client) as self._crew:
            # All sizes first: without them nobody can say how long it will take.
            self._crew.run(partial(self._look, file) for file in self._paths if file not in self._remotes)
            by_size = sorted(self._paths, key=lambda file: self._remotes[file].size, reverse=True)
            self._crew.run(partial(self._fetch, file) for file in by_size)
        return Downloaded(
            written=tuple(path for file, path in self._paths.items() if file not in self._there),
            there=tuple(path for file, path in self._paths.items() if file in self._there),
        )

    def _look(self, file: str) -> None:
        """Learn what a file is from the answer to a request for its first byte."""

        def look(url: httpx.URL) -> Remote:
            with self._open(file, url, {"Range": "bytes=0-0"}, self._client.max_retries, _EMPTY) as answer:
                return _remote(file, answer)

        self._remotes[file] = self._addresses.use(file, look)
        self._meter.is_size(file, self._remotes[file].size)

    def _fetch(self, file: str) -> None:
        path, remote = self._paths[file], self._remotes[file]
        try:
            if has_content(path, remote, self._crew.check):
                self._meter.at(file, remote.size, travelled=False)
                self._there.add(file)
                return
            for _ in range(STARTS):
                with closing(Partial(path, remote)) as part:
                    self._meter.at(file, part.size, travelled=False)
                    self._fill(file, part)
                    if part.enter(self._crew.check):
                        return
        except OSError as error:
            raise InputError(f"{path} cannot be written: {os.strerror(error.errno or 0).lower()}") from None
        raise ApiError(
            Code.DATA_LOSS,
            f"{file} does not come as the server says it is: its bytes hash to something else, {STARTS} times over",
            hint="its copy on the server may be damaged: upload the model again",
        )

    def _fill(self, file: str, part: Partial) -> None:
        """Fetch what is missing, going on where a connection breaks."""
        failed = 0
        while part.size < part.remote.size:
            before = part.size
            try:
                self._addresses.use(file, partial(self._rest, file, part))
            except ApiError as error:
                failed = 1 if part.size > before else failed + 1
                if not is_transient(error) or failed > self._client.max_retries:
                    raise
                self._crew.sender.pause(failed)

    def _rest(self, file: str, part: Partial, url: httpx.URL) -> None:
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
                self._crew.check()
                if part.size + len(chunk) > remote.size:
                    raise NetworkError(Code.UNKNOWN, f"unexpected answer: more bytes of {file} than it has")
                part.append(chunk)
                self._meter.at(file, part.size)
        if part.size < remote.size:
            raise NetworkError(Code.UNAVAILABLE, f"the answer with {file} ended early")

    def _open(
        self,
        file: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        max_retries: int = 0,
        accept: frozenset[int] = frozenset(),
    ) -> Incoming:
        self._crew.check()
        request = Outgoing(
            method="GET",
            url=url,
            what=f"GET {file}",
            headers={"Accept-Encoding": "identity", **headers},
            repeatable=True,
            timeout=SECONDS,
            max_retries=max_retries,
            accept=accept,
        )
        return self._crew.sender.open(request)


def _remote(file: str, answer: Incoming) -> Remote:
    span = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    length = answer.headers.get("content-length", "")
    if answer.status == 200 and length.isdecimal():
        size = int(length)
    elif span is not None and (answer.status == 206 or span[3] == "0"):
        size = int(span[3])
    else:
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the server does not say how large {file} is")
    etag = answer.headers.get("etag", "")
    return Remote(
        size=size,
        digests=stated(answer.headers),
        etag=etag if etag.startswith('"') else None,
        has_ranges=answer.status == 206,
    )


def _check_answer(file: str, answer: Incoming, part: Partial) -> None:
    """FAILED_PRECONDITION for an answer that is not the rest of this version of the file."""
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
            f"{file} is not what it was when the download began",
            hint="start the download again",
        )


def _check_together(names: Mapping[str, str]) -> None:
    """InputError for two names that some file system takes for one."""
    seen: dict[str, str] = {}
    for name in sorted(names):
        same = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if same != name:
            raise InputError(f"the server names two files that cannot be told apart everywhere: {same!r} and {name!r}")


def _require_folder(name: str, folder: Path) -> None:
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
        raise InputError(
            f"{there} is a file, not a folder",
            hint=f"name a folder, there or not: firectl model download {name} {shlex.quote(f'{there}-files')}",
        )
