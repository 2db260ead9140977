"""Which calls surround a transfer? Signed URLs before it, the validation of an upload after it."""

from __future__ import annotations

from collections.abc import Mapping

from firectl.client.api import Api
from firectl.client.resource import read, unreadable
from firectl.schemas.model import GetUploadEndpoint, SignedUrls, ValidateUpload

VALIDATE_SECONDS = 1800.0


def upload_endpoint(api: Api, name: str, filename_to_size: Mapping[str, int], resumable: bool | None) -> SignedUrls:
    """Return the signed URL of each file for its upload to the model `name` (a full name). Sizes are in bytes."""
    path = f"/v1/{name}:getUploadEndpoint"
    body = GetUploadEndpoint(
        filename_to_size={file: str(size) for file, size in filename_to_size.items()},
        enable_resumable_upload=resumable,
    )
    return read(SignedUrls, api.request("POST", path, body=body.to_wire(), repeatable=True), path)


def validate_upload(api: Api, name: str, timeout: float = VALIDATE_SECONDS) -> ValidateUpload:
    """Have the server check the uploaded files: the model becomes READY.

    FAILED_PRECONDITION says which files are wrong.
    """
    path = f"/v1/{name}:validateUpload"
    return read(ValidateUpload, api.request("GET", path, changes=True, timeout=timeout), path)


def download_endpoint(api: Api, name: str) -> SignedUrls:
    """Return the signed URL for the download of each file. NetworkError if the answer has no file."""
    path = f"/v1/{name}:getDownloadEndpoint"
    urls = read(SignedUrls, api.request("GET", path), path)
    if not urls.filename_to_signed_urls:
        raise unreadable(path, "expected the addresses of files, got none")
    return urls
