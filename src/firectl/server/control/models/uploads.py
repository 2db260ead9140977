"""Which files does a model have, which URLs upload and download them, and when is a file complete?

`doors.files` receives and sends the bytes; `disk.files` decides where they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlencode

from firectl.errors import ApiError, Code, failed_precondition, invalid, not_found
from firectl.names import random_id
from firectl.schemas.model import SignedUrls
from firectl.schemas.words import ModelState, Reason
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.models import models
from firectl.server.disk.files import FileStore, check_filename, check_together, require_current
from firectl.server.platform import Platform
from firectl.server.store import Tx
from firectl.server.store.rows import FileRow, ModelRow

MAX_FILES = 2000
MAX_INT64 = 2**63 - 1


@dataclass(frozen=True)
class UploadPermit:
    """What a signed URL allows: one method on one file of one model. Deleting the model makes the URL invalid.

    `upload` is the ID of a resumable upload; "" for other URLs. `sha256` is not part of the URL: it is the file's hash
    if the file was complete when the URL was checked.
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
    """Register files with their sizes and return the URLs to upload them to. `origin` is `http://host:port` as called.

    A repeated call resets a file whose size differs, and keeps the others. The answer has the hashes of complete files,
    so that the caller need not send the same content again.
    """
    announced = {filename: _size(filename, text) for filename, text in sizes.items()}
    if not announced:
        raise invalid("filename_to_size is empty: name the files to upload")
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
            filename: _url(platform, origin, method, UploadPermit(name, row.folder, filename, size))
            for filename, size in announced.items()
        },
        filename_to_sha256={
            filename: file.sha256
            for filename, file in known.items()
            if file.sha256 is not None and announced.get(filename) == file.size
        },
    )


def download_urls(platform: Platform, caller: Caller, name: str, origin: str) -> SignedUrls:
    """Return the URL, size and hash of each file of a READY model."""
    with platform.store.read() as tx:
        row = access.model(tx, caller, name)
        models.require_ready(row)
        files = tx.files.of_model(name)
    return SignedUrls(
        filename_to_signed_urls={
            file.filename: _url(platform, origin, "GET", UploadPermit(name, row.folder, file.filename, file.size))
            for file in files
        },
        filename_to_size={file.filename: str(file.size) for file in files},
        filename_to_sha256={file.filename: file.sha256 for file in files if file.sha256 is not None},
    )


def check_permit(platform: Platform, method: str, name: str, filename: str, query: Mapping[str, str]) -> UploadPermit:
    """Return what a signed URL allows; PERMISSION_DENIED unless the platform issued the URL for this method.

    For an upload, FAILED_PRECONDITION when the model accepts no more files, or the file now has another size.
    """
    with platform.store.read() as tx:
        row = tx.models.get(name)
        file = tx.files.get(name, filename)
    folder = row.folder if row is not None else ""
    size, upload = query.get("size", ""), query.get("upload", "")
    allowed = (method, name, folder, filename, size, upload)
    platform.signer.check(query.get("expires", ""), query.get("signature", ""), *allowed)
    if row is None or file is None:
        raise not_found(f"file {filename!r} of model {name}")
    permit = UploadPermit(name, folder, filename, int(size), upload, file.sha256)
    if method != "GET":
        _require_open(row)
        _require_announced(file, permit)
    return permit


def begin_session(platform: Platform, permit: UploadPermit, origin: str) -> str:
    """Start a resumable upload of a file and return the URL for its parts. It ends earlier ones of the file."""
    session = replace(permit, upload=random_id(16))
    FileStore(platform.paths).begin_upload(session.folder, session.filename, session.upload)
    if permit.sha256 is not None:
        reopen(platform, permit)
    return _url(platform, origin, "PUT", session)


def reopen(platform: Platform, permit: UploadPermit) -> None:
    """Mark the file as incomplete, because a new upload of it begins."""
    with platform.store.begin() as tx:
        if _current(tx, permit).complete:
            _put(tx, permit.model, permit.filename, permit.size, None)


def arrived_hash(platform: Platform, permit: UploadPermit) -> str | None:
    """Return the sha256 of the file; None while it is incomplete."""
    with platform.store.read() as tx:
        return _current(tx, permit).sha256


def finish(platform: Platform, permit: UploadPermit, arrived: Path, sha256: str) -> None:
    """Move a complete file into its model's folder, and mark it as complete.

    UploadSuperseded if a later upload of the same file has begun.
    """
    with platform.store.begin() as tx:
        _current(tx, permit)
        require_current(arrived)
        FileStore(platform.paths).enter(arrived, permit.folder, permit.filename)
        _put(tx, permit.model, permit.filename, permit.size, sha256)
    arrived.unlink(missing_ok=True)


def _current(tx: Tx, permit: UploadPermit) -> FileRow:
    row, file = tx.models.get(permit.model), tx.files.get(permit.model, permit.filename)
    if row is None or file is None or row.folder != permit.folder:
        raise ApiError(Code.NOT_FOUND, f"model {permit.model} was deleted during its upload")
    _require_open(row)
    _require_announced(file, permit)
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


def _require_announced(file: FileRow, permit: UploadPermit) -> None:
    if file.size != permit.size:
        raise failed_precondition(
            f"file {permit.filename!r} was announced again with {file.size} bytes; this URL is for {permit.size}"
        )


def _size(filename: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > MAX_INT64:
        raise invalid(f"filename_to_size: the size of {filename[:200]!a} is not a number of bytes")
    return int(text)


def _check_room(platform: Platform, sizes: Mapping[str, int], known: Mapping[str, FileRow]) -> None:
    if len(sizes) > MAX_FILES:
        raise invalid(f"a model has at most {MAX_FILES} files; these are {len(sizes)}")
    total, limit = sum(sizes.values()), platform.settings.max_model_bytes
    if total > limit:
        raise ApiError(
            Code.RESOURCE_EXHAUSTED,
            f"the model's files would be {total} bytes; this platform accepts {limit} per model (--max-model-bytes)",
        )
    missing = total - sum(file.size for file in known.values() if file.complete)
    if missing > FileStore(platform.paths).free_bytes():
        raise ApiError(
            Code.RESOURCE_EXHAUSTED,
            f"{missing} bytes would arrive, but the disk of {platform.paths.home} has no room for them",
        )


def _url(platform: Platform, origin: str, method: str, permit: UploadPermit) -> str:
    allowed = (method, permit.model, permit.folder, permit.filename, str(permit.size), permit.upload)
    expires, signature = platform.signer.sign(*allowed)
    query = {"size": permit.size, "expires": expires, "signature": signature}
    if permit.upload:
        query["upload"] = permit.upload
    return f"{origin}/files/{permit.model}/{quote(permit.filename)}?{urlencode(query)}"
