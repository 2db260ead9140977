"""A model's files: which are announced, which URLs let them in and out, and when one counts as there.

The bytes themselves pass through `doors.files`; where they lie is `server.files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from firectl.errors import ApiError, Code
from firectl.names import random_id
from firectl.schemas.model import SignedUrls
from firectl.schemas.words import ModelState, Reason
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.models import models
from firectl.server.disk.files import FileStore, check_filename, check_together
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.rows import FileRow, ModelRow

MAX_FILES = 2000
MAX_INT64 = 2**63 - 1


@dataclass(frozen=True)
class Ticket:
    """What a signed URL allows: one method on one file of one model as it is now, not as it may be made again.

    `upload` names one upload of the file; the parts of a resumable one share it. `sha256`, which no URL says, is that
    of the file if it was complete when the URL was checked.
    """

    model: str
    folder: str
    filename: str
    size: int
    upload: str = ""
    sha256: str | None = None


def announce(
    platform: Platform, caller: Caller, name: str, sizes: Mapping[str, str], resumable: bool, origin: str
) -> SignedUrls:
    """Say which files come and how large they are; where each is put. `origin` is `http://host:port` as called.

    May be repeated: a file announced with another size starts over, others stay, and those that are complete are named
    with their hash: whoever has the same need not send it again.
    """
    announced = {filename: _size(filename, text) for filename, text in sizes.items()}
    if not announced:
        raise ApiError(Code.INVALID_ARGUMENT, "filename_to_size is empty: name the files to upload")
    for filename in announced:
        check_filename(filename)
    with platform.store.begin() as tx:
        row = access.model(tx, caller, name)
        _require_open(row)
        known = {file.filename: file for file in tx.files.of_model(name)}
        check_together([*known, *announced])
        _check_room(platform, {**{file.filename: file.size for file in known.values()}, **announced}, known)
        for filename, size in announced.items():
            if filename not in known or known[filename].size != size:
                _put(tx, name, filename, size, None)
    method = "POST" if resumable else "PUT"
    return SignedUrls(
        filename_to_signed_urls={
            filename: _url(platform, origin, method, Ticket(name, row.folder, filename, size))
            for filename, size in announced.items()
        },
        filename_to_sha256={
            filename: file.sha256
            for filename, file in known.items()
            if file.sha256 is not None and announced.get(filename) == file.size
        },
    )


def download_urls(platform: Platform, caller: Caller, name: str, origin: str) -> SignedUrls:
    """Where each file of a READY model can be got, how large it is and what it hashes to."""
    with platform.store.read() as tx:
        row = access.model(tx, caller, name)
        models.require_ready(row)
        files = tx.files.of_model(name)
    return SignedUrls(
        filename_to_signed_urls={
            file.filename: _url(platform, origin, "GET", Ticket(name, row.folder, file.filename, file.size))
            for file in files
        },
        filename_to_size={file.filename: str(file.size) for file in files},
        filename_to_sha256={file.filename: file.sha256 for file in files if file.sha256 is not None},
    )


def check_ticket(platform: Platform, method: str, name: str, filename: str, query: Mapping[str, str]) -> Ticket:
    """What the signed URL that is being used allows; PERMISSION_DENIED unless it is one of ours for this method.

    For an upload also FAILED_PRECONDITION when the model takes no more files, or the file was announced anew.
    """
    with platform.store.read() as tx:
        row = tx.models.get(name)
        file = tx.files.get(name, filename)
    folder = row.folder if row is not None else ""
    size, upload = query.get("size", ""), query.get("upload", "")
    allowed = (method, name, folder, filename, size, upload)
    platform.signer.check(query.get("expires", ""), query.get("signature", ""), *allowed)
    if row is None or file is None:
        raise ApiError(Code.NOT_FOUND, f"file {filename!r} of model {name} not found")
    ticket = Ticket(name, folder, filename, int(size), upload, file.sha256)
    if method != "GET":
        _require_open(row)
        _require_announced(file, ticket)
    return ticket


def begin_session(platform: Platform, ticket: Ticket, origin: str) -> str:
    """The URL for the parts of a new resumable upload of a file; what came in earlier ones is forgotten."""
    session = Ticket(ticket.model, ticket.folder, ticket.filename, ticket.size, random_id(16))
    FileStore(platform.paths).begin_anew(session.folder, session.filename, session.upload)
    if ticket.sha256 is not None:
        reopen(platform, ticket)
    return _url(platform, origin, "PUT", session)


def reopen(platform: Platform, ticket: Ticket) -> None:
    """New bytes are on their way: the file does not count as there until they are."""
    with platform.store.begin() as tx:
        if _current(tx, ticket).complete:
            _put(tx, ticket.model, ticket.filename, ticket.size, None)


def arrived_hash(platform: Platform, ticket: Ticket) -> str | None:
    """The sha256 of the whole file, None when it is not there yet."""
    with platform.store.read() as tx:
        return _current(tx, ticket).sha256


def finish(platform: Platform, ticket: Ticket, arrived: Path, sha256: str) -> None:
    """All bytes came, and last: the file enters its model's folder and counts as there. BegunAnew if that is over."""
    store = FileStore(platform.paths)
    with platform.store.begin() as tx:
        _current(tx, ticket)
        store.require_current(arrived)
        store.enter(arrived, ticket.folder, ticket.filename)
        _put(tx, ticket.model, ticket.filename, ticket.size, sha256)
    store.drop(arrived)


def _current(tx: Tx, ticket: Ticket) -> FileRow:
    row, file = tx.models.get(ticket.model), tx.files.get(ticket.model, ticket.filename)
    if row is None or file is None or row.folder != ticket.folder:
        raise ApiError(Code.NOT_FOUND, f"model {ticket.model} was deleted meanwhile")
    _require_open(row)
    _require_announced(file, ticket)
    return file


def _put(tx: Tx, model: str, filename: str, size: int, sha256: str | None) -> None:
    tx.files.put(FileRow(model=model, filename=filename, size=size, sha256=sha256, complete=sha256 is not None))


def _require_open(row: ModelRow) -> None:
    if row.state != ModelState.UPLOADING:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"model {row.name} is {row.state}: its files cannot change any more",
            hint="for new weights under this name: unload it, delete the model, create it again, load it",
            reason=Reason.MODEL_FILES_SETTLED,
        )


def _require_announced(file: FileRow, ticket: Ticket) -> None:
    if file.size != ticket.size:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"file {ticket.filename!r} was announced anew with {file.size} bytes; this URL is for {ticket.size}",
        )


def _size(filename: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > MAX_INT64:
        raise ApiError(
            Code.INVALID_ARGUMENT, f"filename_to_size: the size of {filename[:200]!a} is not a number of bytes"
        )
    return int(text)


def _check_room(platform: Platform, sizes: Mapping[str, int], known: Mapping[str, FileRow]) -> None:
    if len(sizes) > MAX_FILES:
        raise ApiError(Code.INVALID_ARGUMENT, f"a model has at most {MAX_FILES} files, these would be {len(sizes)}")
    total, limit = sum(sizes.values()), platform.settings.max_model_bytes
    if total > limit:
        raise ApiError(
            Code.RESOURCE_EXHAUSTED,
            f"the model's files would be {total} bytes; this platform takes {limit} a model (--max-model-bytes)",
        )
    missing = total - sum(file.size for file in known.values() if file.complete)
    if missing > FileStore(platform.paths).free_bytes():
        raise ApiError(
            Code.RESOURCE_EXHAUSTED, f"{missing} bytes are to come and the disk of {platform.paths.home} has no room"
        )


def _url(platform: Platform, origin: str, method: str, ticket: Ticket) -> str:
    allowed = (method, ticket.model, ticket.folder, ticket.filename, str(ticket.size), ticket.upload)
    expires, signature = platform.signer.sign(*allowed)
    query = {"size": ticket.size, "expires": expires, "signature": signature}
    if ticket.upload:
        query["upload"] = ticket.upload
    return f"{origin}/files/{ticket.model}/{quote(ticket.filename)}?{urlencode(query)}"
