"""Sends a model's files: to signed URLs, several at once, streamed from disk, large ones in parts that can be repeated.

The signed URLs are as good as keys: no message shows one, and none is sent our own key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.files import LocalFile, read_range, scan
from firectl.client.http import httpx
from firectl.client.parallel import Meter, Progress, run_all
from firectl.client.sender import Answer, Outgoing
from firectl.client.wait import passes
from firectl.errors import ApiError, Code, NetworkError
from firectl.schemas.model import ValidateUpload

if TYPE_CHECKING:
    from firectl.client.client import Client

RESUMABLE_ABOVE = 8 * 1024 * 1024
PART = 8 * 1024 * 1024
"""Bytes a part of a resumable upload; the protocol wants a multiple of 256 KiB."""
SECONDS = 120.0
"""How long a server may be silent while bytes go to it, or after the last one."""
INCOMPLETE = frozenset({308})
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
    """Sends every file of `folder` as the model `name` (a full name) and has the server validate them.

    `resumable` None: when a file is above 8 MiB. `validate_timeout`: seconds that the server may take to look at them.
    InputError for a folder that cannot be sent or a file that changes meanwhile; ApiError when the server refuses,
    NetworkError when it stays out of reach.
    """
    files = scan(folder)
    if resumable is None:
        resumable = any(file.size > RESUMABLE_ABOVE for file in files)
    sizes = {file.name: file.size for file in files}
    urls = client.models.get_upload_endpoint(name, sizes, enable_resumable_upload=resumable)
    meter = Meter({**sizes}, on_progress)
    send = _send_in_parts if resumable else _send_whole
    jobs = [partial(send, client, file, signed_url(client, urls.get(file.name), file.name), meter) for file in files]
    run_all(jobs, meter.stop)
    return client.models.validate_upload(name, timeout=validate_timeout)


def signed_url(client: Client, text: str | None, file: str, base: httpx.URL | None = None) -> httpx.URL:
    """The address for a file; NetworkError when the server gave none, or one that is less safe than the API's own."""
    if not text:
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the server gave no address for {file}")
    try:
        url = (base or httpx.URL(client.base_url)).join(text)
    except httpx.InvalidURL:
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the address for {file} is not a URL") from None
    if url.scheme not in ("http", "https") or (url.scheme == "http" and client.base_url.startswith("https:")):
        raise NetworkError(Code.UNKNOWN, f"the address for {file} is not https: nothing was sent to it")
    return url


def _send_whole(client: Client, file: LocalFile, url: httpx.URL, meter: Meter) -> None:
    headers = {"Content-Length": str(file.size), **_signed_headers(url, file)}
    content = partial(_metered, file, 0, file.size, meter)
    _exchange(client, "PUT", file, url, headers, content, client.max_retries)


def _send_in_parts(client: Client, file: LocalFile, url: httpx.URL, meter: Meter) -> None:
    start = {"x-goog-resumable": "start", "Content-Length": "0", **_signed_headers(url, file)}
    begun = _exchange(client, "POST", file, url, start, None, client.max_retries)
    session = signed_url(client, begun.headers.get("location"), file.name, url)
    offset: int | None = 0 if file.size else _resume_at(client, file, session)
    failed = 0
    while offset is not None:
        try:
            reached = _send_part(client, file, session, offset, meter)
        except ApiError as error:
            failed += 1
            if not passes(error) or failed > client.max_retries:
                raise
            client.sender.pause(failed)
            reached = _resume_at(client, file, session)
        else:
            if reached is not None and reached <= offset:
                stuck = f"unexpected answer: the server does not take {file.name} past {offset} bytes"
                raise NetworkError(Code.UNKNOWN, stuck)
            failed = 0
        offset = reached
    meter.at(file.name, file.size)


def _send_part(client: Client, file: LocalFile, session: httpx.URL, offset: int, meter: Meter) -> int | None:
    """Sends the part at `offset`; where the next one starts, None when the file is complete."""
    end = min(offset + PART, file.size)
    headers = {"Content-Length": str(end - offset), "Content-Range": f"bytes {offset}-{end - 1}/{file.size}"}
    content = partial(_metered, file, offset, end, meter)
    return _reached(_exchange(client, "PUT", file, session, headers, content, 0, accept=INCOMPLETE))


def _resume_at(client: Client, file: LocalFile, session: httpx.URL) -> int | None:
    """Asks how much has arrived: the offset to go on from, None when the file is complete."""
    headers = {"Content-Length": "0", "Content-Range": f"bytes */{file.size}"}
    return _reached(_exchange(client, "PUT", file, session, headers, None, client.max_retries, accept=INCOMPLETE))


def _reached(answer: Answer) -> int | None:
    if answer.status != 308:
        return None
    unit, _, span = answer.headers.get("range", "").partition("=")
    first, _, last = span.partition("-")
    return int(last) + 1 if unit == "bytes" and first == "0" and last.isdecimal() else 0


def _metered(file: LocalFile, start: int, end: int, meter: Meter) -> Iterator[bytes]:
    sent = start
    meter.at(file.name, sent)
    for chunk in read_range(file, start, end):
        yield chunk
        sent += len(chunk)
        meter.at(file.name, sent)


def _signed_headers(url: httpx.URL, file: LocalFile) -> dict[str, str]:
    """The headers that the URL was signed with, as far as they are the sender's to fill in."""
    headers = {"Content-Type": "application/octet-stream"}
    for key, value in url.params.multi_items():
        if key.lower() == "x-goog-signedheaders" and LENGTH_RANGE in value.lower().split(";"):
            headers[LENGTH_RANGE] = f"{file.size},{file.size}"
    return headers


def _exchange(
    client: Client,
    method: str,
    file: LocalFile,
    url: httpx.URL,
    headers: Mapping[str, str],
    content: Callable[[], Iterator[bytes]] | None,
    max_retries: int,
    accept: frozenset[int] = frozenset(),
) -> Answer:
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
    try:
        answer = client.sender.send(request)
    except ApiError as error:
        if error.http_status in (400, 401, 403) and not isinstance(error, NetworkError):
            error.hint = "the address may have expired: start the upload again"
        raise
    assert answer is not None, "only `settled` gives None"
    return answer
