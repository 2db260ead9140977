"""Where do a model's files go and come from, and are they complete? The three calls around a transfer."""

from __future__ import annotations

from collections.abc import Mapping

from firectl.client.api import Api
from firectl.client.resource import read, unreadable
from firectl.schemas.model import GetUploadEndpoint, SignedUrls, ValidateUpload

VALIDATE_SECONDS = 1800.0


def upload_endpoint(api: Api, name: str, filename_to_size: Mapping[str, int], resumable: bool | None) -> SignedUrls:
    """Where each file of the model `name` (a full name) is put. The URLs are secrets: never show them."""
    path = f"/v1/{name}:getUploadEndpoint"
    body = GetUploadEndpoint(
        filename_to_size={file: str(size) for file, size in filename_to_size.items()},
        enable_resumable_upload=resumable,
    )
    return read(SignedUrls, api.request("POST", path, body=body.to_wire(), repeatable=True), path)


def validate_upload(api: Api, name: str, timeout: float = VALIDATE_SECONDS) -> ValidateUpload:
    """The last step of an upload: the model is READY then, or FAILED_PRECONDITION says what is wrong with it."""
    path = f"/v1/{name}:validateUpload"
    return read(ValidateUpload, api.request("GET", path, changes=True, timeout=timeout), path)


def download_endpoint(api: Api, name: str) -> SignedUrls:
    """Where each file is fetched; NetworkError for an answer without a file, because every model has one."""
    path = f"/v1/{name}:getDownloadEndpoint"
    urls = read(SignedUrls, api.request("GET", path), path)
    if not urls.filename_to_signed_urls:
        raise unreadable(path, "it names no file")
    return urls
