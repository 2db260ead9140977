"""Fetches a model's files from signed URLs: several at once, large ones in ranges, each whole and hashed or not there.

What came before a download was cut off lies beside its place in a hidden file, and is not fetched again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.addresses import Addresses
from firectl.client.files import target
from firectl.client.hashes import stated
from firectl.client.http import httpx, is_loopback
from firectl.client.meter import Meter, Progress
from firectl.client.parallel import WORKERS, Crew
from firectl.client.partial import UNIT, Partial, Remote, has_content
from firectl.client.sender import Incoming, Outgoing
from firectl.client.transfer import SECONDS, STARTS
from firectl.client.wait import passes
from firectl.errors import ApiError, Code, InputError, NetworkError

if TYPE_CHECKING:
    from firectl.client.client import Client

RANGE = 32 * 1024 * 1024
"""Bytes of one request of a large file, and of one from which on the hash has a thread of its own."""
NEARBY = 3
"""Files at once from a server on this machine, each in one request: there is no distance that ranges would bridge."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")
_EMPTY = frozenset({416})


@dataclass(frozen=True)
class Downloaded:
    """The files of a model in a folder: those `written`, and those that were `there` already with the same content."""

    written: tuple[Path, ...]
    there: tuple[Path, ...]


def download(
    client: Client, name: str, folder: Path, *, on_progress: Callable[[Progress], None] | None = None
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

    def __init__(self, client: Client, name: str, folder: Path, on_progress: Callable[[Progress], None] | None) -> None:
        self._client = client
        self._near = is_loopback(httpx.URL(client.base_url))
        self._addresses = Addresses(client.base_url, partial(client.models.get_download_endpoint, name))
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
        workers = NEARBY if self._near else WORKERS
        with contextlib.ExitStack() as self._open_parts, Crew(self._client, workers) as self._crew:
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
            with self._open(file, url, {"Range": "bytes=0-0"}, accept=_EMPTY) as answer:
                return _remote(file, answer)

        remote = self._addresses.use(file, look)
        self._remotes[file] = remote
        self._meter.is_size(file, remote.size)

    def _fetch(self, file: str, starts: int = STARTS) -> None:
        path, remote = self._paths[file], self._remotes[file]
        try:
            if has_content(path, remote, self._crew.check):
                self._meter.had(file, remote.size)
                self._there.add(file)
                return
            part = Partial(path, remote, self._crew.hashers if self._near and remote.size > RANGE else None)
            self._open_parts.callback(part.close)
        except OSError as error:
            raise _unwritable(path, error) from None
        self._meter.had(file, part.done if remote.has_ranges else 0)
        longest = remote.size if self._near else RANGE
        runs = part.missing(longest) or [(0, 0)] if remote.has_ranges else [(0, remote.size)]
        left = [len(runs)]

        def run(start: int, end: int) -> None:
            try:
                if end > start:
                    self._run(file, part, start, end)
                with part.lock:
                    left[0] -= 1
                    last = left[0] == 0
                if last:
                    self._finish(file, part, starts)
            except OSError as error:
                raise _unwritable(path, error) from None

        if not self._near:
            self._crew.add([partial(run, *span) for span in runs[1:]])
            del runs[1:]
        for span in runs:
            run(*span)

    def _finish(self, file: str, part: Partial, starts: int) -> None:
        if part.enter():
            return
        self._meter.had(file, 0)
        if starts > 1:
            self._fetch(file, starts - 1)
            return
        raise ApiError(
            Code.DATA_LOSS,
            f"{file} does not come as the server says it is: its bytes hash to something else, {STARTS} times over",
            hint="its copy on the server may be damaged: upload the model again",
        )

    def _run(self, file: str, part: Partial, start: int, end: int) -> None:
        """Fetch the bytes from `start` to `end`, going on where a connection breaks."""
        at = start
        failed = 0
        while at < end:
            before = at
            try:
                at = self._addresses.use(file, lambda url, at=at: self._range(file, part, url, at, end))  # type: ignore[misc]
            except _Broken as broken:
                at = broken.at if part.remote.has_ranges else start
                self._meter.lost(file, broken.at - at)
                failed = 1 if at > before else failed + 1
                if not passes(broken.error) or failed > self._client.max_retries:
                    raise broken.error from None
                self._crew.sender.pause(failed)

    def _range(self, file: str, part: Partial, url: httpx.URL, start: int, end: int) -> int:
        remote = part.remote
        whole = start == 0 and end == remote.size
        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        if remote.etag and not whole:
            headers["If-Match"] = remote.etag
        at, came = start, 0
        try:
            with self._open(file, url, headers) as answer:
                _check_answer(file, answer, remote, None if whole else (start, end))
                buffer, other = memoryview(bytearray(UNIT)), memoryview(bytearray(UNIT))
                while got := answer.read_into(buffer[came:]):
                    self._crew.check()
                    if at + came + got > end:
                        raise NetworkError(Code.UNKNOWN, f"unexpected answer: more bytes of {file} than it has")
                    self._meter.add(file, got)
                    came += got
                    if (at + came) % UNIT == 0 or at + came == end:
                        part.write(at, buffer[:came])
                        at, came = at + came, 0
                        buffer, other = other, buffer
            if at < end:
                raise NetworkError(Code.UNAVAILABLE, f"the answer with {file} ended early")
        except ApiError as error:
            if not passes(error):
                raise
            self._meter.lost(file, came)
            raise _Broken(error, at) from None
        return at

    def _open(
        self, file: str, url: httpx.URL, headers: Mapping[str, str], accept: frozenset[int] = frozenset()
    ) -> Incoming:
        self._crew.check()
        request = Outgoing(
            method="GET",
            url=url,
            what=f"GET {file}",
            headers={"Accept-Encoding": "identity", **headers},
            repeatable=True,
            timeout=SECONDS,
            max_retries=0 if not accept else self._client.max_retries,
            accept=accept,
        )
        return self._crew.sender.open(request)


class _Broken(Exception):
    """A range that came as far as `at`, and why no further."""

    def __init__(self, error: ApiError, at: int) -> None:
        super().__init__()
        self.error = error
        self.at = at


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


def _check_answer(file: str, answer: Incoming, remote: Remote, asked: tuple[int, int] | None) -> None:
    """ABORTED for an answer that is not this range of this version of the file."""
    etag = answer.headers.get("etag")
    other = remote.etag is not None and etag is not None and etag != remote.etag
    said = stated(answer.headers)
    other = other or any(said[name] != remote.digests[name] for name in said.keys() & remote.digests.keys())
    if asked is None:
        length = answer.headers.get("content-length")
        fits = answer.status == 200 and length in (None, str(remote.size))
    else:
        expected = f"bytes {asked[0]}-{asked[1] - 1}/{remote.size}"
        fits = answer.status == 206 and answer.headers.get("content-range") == expected
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


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written: {os.strerror(error.errno or 0).lower()}")
