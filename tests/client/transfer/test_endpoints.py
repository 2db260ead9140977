"""The calls around a transfer: what they send, and which answer they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firectl import Client
from firectl.client.transfer.endpoints import download_endpoint, upload_endpoint, validate_upload
from firectl.errors import NetworkError
from tests.client.script_server import ScriptServer, answer

NAME = "accounts/acme/models/m"


def test_an_upload_names_each_file_with_its_size_in_digits(
    serve: Callable[..., ScriptServer], connect: Callable[..., Client]
) -> None:
    server = serve(answer(200, {"filenameToSignedUrls": {"f": "https://storage/f"}}))
    urls = upload_endpoint(connect(server.url), NAME, {"f": 5}, True)
    assert urls.filename_to_signed_urls == {"f": "https://storage/f"}
    [asked] = server.received
    assert (asked.method, asked.path) == ("POST", f"/v1/{NAME}:getUploadEndpoint")
    assert asked.json == {"filenameToSize": {"f": "5"}, "enableResumableUpload": True}


def test_a_validation_returns_the_warnings(serve: Callable[..., ScriptServer], connect: Callable[..., Client]) -> None:
    server = serve(answer(200, {"warnings": ["rank 128 is large"]}))
    assert validate_upload(connect(server.url), NAME).warnings == ["rank 128 is large"]
    assert server.received[0].path == f"/v1/{NAME}:validateUpload"


def test_a_download_of_no_file_is_refused(serve: Callable[..., ScriptServer], connect: Callable[..., Client]) -> None:
    server = serve(answer(200, {"filenameToSignedUrls": {}}))
    with pytest.raises(NetworkError, match="expected the addresses of files, got none"):
        download_endpoint(connect(server.url), NAME)
