"""Signed URLs that have expired, and URLs that are refused (`client/transfer/addresses.py`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.http.connections import httpx
from firectl.client.transfer.addresses import Addresses, checked
from firectl.errors import ApiError, Code, NetworkError
from firectl.schemas.model import SignedUrls
from tests.client.script_server import Received, Reply, ScriptServer, answer
from tests.client.storage import Storage

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]

pytestmark = pytest.mark.usefixtures("says_hashes")


@pytest.mark.parametrize("resumable", [False, True])
def test_an_address_that_ran_out_is_asked_for_again(
    client: Client, storage: Storage, folder: Path, resumable: bool
) -> None:
    def asked() -> int:
        return sum(request.path.endswith("Endpoint") for request in storage.requests)

    def fault(request: Received) -> Reply | None:
        old = request.path.startswith("/store/") and "upload_id" not in request.path and asked() < 2
        return answer(400, b"<Code>ExpiredToken</Code>") if old else None

    storage.fault = fault
    client.models.upload("m", folder, resumable=resumable)
    assert (storage.files["big"], asked()) == ((folder / "big").read_bytes(), 2)
    storage.requests.clear()
    client.models.download("m", folder.parent / "back")
    assert (folder.parent / "back" / "big").read_bytes() == storage.files["big"]


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ({}, "gave no address for config.json"),
        ({"config.json": ""}, "gave no address for config.json"),
        ({"config.json": "ftp://x/y"}, "is not https"),
        ({"config.json": "http://host:port"}, "is not a URL"),
    ],
)
def test_addresses_that_are_none_are_refused(
    serve: Serve, connect: Connect, tmp_path: Path, urls: dict[str, str], said: str
) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    with pytest.raises(NetworkError) as caught:
        connect(serve(answer(200, {"filenameToSignedUrls": urls})).url).models.upload("m", tmp_path)
    assert said in caught.value.message


def test_many_that_expire_at_once_are_renewed_once() -> None:
    asked: list[SignedUrls] = []
    together = threading.Barrier(4)

    def ask() -> SignedUrls:
        asked.append(SignedUrls(filename_to_signed_urls={"a": f"https://storage.test/{len(asked)}"}))
        return asked[-1]

    def send(url: httpx.URL) -> str:
        if url.path == "/0":
            together.wait(10)
            raise ApiError(Code.INVALID_ARGUMENT, "expired", http_status=400)
        return url.path

    addresses = Addresses("https://api.test", ask)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: addresses.use("a", send), range(4))) == ["/1"] * 4
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://storage.test/x", "https://storage.test/x"),
        ("/store/x?k=1", "https://api.test/store/x?k=1"),
        ("http://storage.test/x", None),
    ],
)
def test_an_address_may_be_relative_and_is_as_safe_as_the_api(text: str, found: str | None) -> None:
    api = httpx.URL("https://api.test")
    if found is not None:
        assert str(checked(text, "a", api, api)) == found
        return
    with pytest.raises(NetworkError, match="the address for a is not https: nothing was sent to it"):
        checked(text, "a", api, api)
