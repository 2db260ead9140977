"""Large bodies: in pieces of any size, broken off, refused in the middle."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.server.process import Api, PlatformProcess, bare, until

SIZE = (9 << 20) + 77
CLOSE = "Connection: close\r\n"


@pytest.fixture
def url(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a file of SIZE bytes is put."""
    model_id = f"body-{abs(hash(request.node.name))}"
    api.create_model(model_id)
    yield api.announce(model_id, {"f": SIZE})["f"]
    api.call("DELETE", f"models/{model_id}")


@contextmanager
def sending(url: str, chunks: Iterable[bytes], head: str = CLOSE, size: int = SIZE) -> Iterator[socket.socket]:
    """A connection on which a PUT has begun."""
    split = urlsplit(url)
    with socket.create_connection((split.hostname or "", split.port or 0), timeout=20) as connection:
        begin = f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n{head}\r\n".encode()
        for chunk in chunks:
            connection.sendall(begin + chunk)
            begin = b""
        yield connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the platform closes it."""
    found = b""
    while came := connection.recv(1 << 16):
        found += came
    return found


@pytest.mark.parametrize("first", [0, 1, 65_536, 70_000, 300_000, 1 << 20, SIZE - (1 << 20), SIZE - 100, SIZE])
def test_a_large_body_arrives_wherever_it_is_cut(url: str, first: int) -> None:
    data = os.urandom(SIZE)
    with sending(url, [data[:first], data[first:]]) as connection:
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert base64.b64encode(hashlib.sha256(data).digest()) in said


def test_a_sender_that_asks_first_is_told_to_go_on(url: str) -> None:
    with sending(url, [b""], f"Expect: 100-continue\r\n{CLOSE}") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"x" * SIZE)
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_a_connection_takes_the_next_request_after_a_large_body(url: str) -> None:
    with httpx.Client() as kept:
        streams = []
        for letter in (b"x", b"y"):
            said = kept.put(url, content=letter * SIZE)
            assert said.status_code == 200
            streams.append(said.extensions["network_stream"].get_extra_info("client_addr"))
    assert streams[0] == streams[1]


def test_a_refusal_ends_the_connection_of_a_body_that_goes_on(url: str) -> None:
    with sending(url, [b"x" * ((16 << 20) + 1)], head="", size=1 << 40) as connection:
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close\r\n" in said


def answer_after(platform: PlatformProcess, api: Api, model_id: str, event: Callable[[str], object]) -> bytes:
    """The answer to an upload, after something happened to its file, by its URL, while its bytes came."""
    api.create_model(model_id)
    url = api.announce(model_id, {"f": 2 * SIZE}, resumable=True)["f"]
    session = bare.post(url, headers={"x-goog-resumable": "start"}).headers["location"]
    here = f"Content-Range: bytes 0-{SIZE - 1}/{2 * SIZE}\r\n{CLOSE}"
    with sending(session, [b"x" * (1 << 20)], here) as connection:
        parts = platform.home / "uploads"
        until(lambda: [path for path in parts.glob(f"acme.{model_id}.*/*") if path.stat().st_size])
        event(url)
        connection.sendall(b"x" * (SIZE - (1 << 20)))
        return answer(connection)


def test_an_upload_of_a_model_that_is_deleted_during_it_ends(platform: PlatformProcess, api: Api) -> None:
    said = answer_after(platform, api, "short-lived", lambda _: api.call("DELETE", "models/short-lived"))
    assert said.startswith(b"HTTP/1.1 409 ")
    assert b"this upload has ended: its model was deleted" in said


def test_an_upload_that_another_one_ends_while_its_bytes_come_is_told_so(platform: PlatformProcess, api: Api) -> None:
    def begin_another(url: str) -> None:
        assert bare.post(url, headers={"x-goog-resumable": "start"}).status_code == 201

    said = answer_after(platform, api, "wanted", begin_another)
    assert said.startswith(b"HTTP/1.1 409 ")
    assert b"somebody else uploads accounts/acme/models/wanted" in said
