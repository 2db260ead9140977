"""`server/doors/authentication.py`: a key for every request, an ID for every answer, a limit for every body."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from firectl.errors import Code
from tests.server.process import Api, PlatformProcess, Refusal, bare, refusal

NO_KEY = "no API key was sent: expected the header 'Authorization: Bearer <API key>'"


@pytest.mark.parametrize("path", ["/v1/accounts", "/v1/local", "/nowhere", "/"])
def test_all_else_without_a_key_is_unauthenticated(platform: PlatformProcess, path: str) -> None:
    answer = bare.get(platform.url + path)
    assert refusal(answer) == Refusal(401, Code.UNAUTHENTICATED.number, NO_KEY, None)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer", "Basic abc", "fw_abc"])
def test_a_header_that_carries_no_bearer_key_is_no_key(platform: PlatformProcess, header: str) -> None:
    answer = bare.get(f"{platform.url}/v1/accounts", headers={"authorization": header})
    assert refusal(answer) == Refusal(401, Code.UNAUTHENTICATED.number, NO_KEY, None)


@pytest.mark.parametrize("key", ["fw_wrong", "x" * 10_000])
def test_a_wrong_key_is_unauthenticated(platform: PlatformProcess, key: str) -> None:
    answer = bare.get(f"{platform.url}/v1/accounts", headers={"authorization": f"Bearer {key}"})
    said = refusal(answer)
    assert (said.status, said.code, said.message) == (401, 16, "the API key is not valid here")


def test_inference_says_it_in_openai_s_words(platform: PlatformProcess) -> None:
    answer = bare.post(f"{platform.url}/inference/v1/chat/completions", json={})
    assert answer.status_code == 401
    error = {"message": NO_KEY, "type": "invalid_request_error", "param": None, "code": "UNAUTHENTICATED"}
    assert answer.json() == {"error": error}


def test_a_body_over_the_limit_is_refused_before_it_is_read(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port)) as connection:
        headers = f"Authorization: {api.http.headers['authorization']}\r\nContent-Length: {1 << 40}"
        connection.sendall(f"POST /v1/{api.account}/models HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_grows_over_the_limit_is_refused_on_the_way(api: Api) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    answer = api.http.post(f"/v1/{api.account}/models", content=endless())
    assert refusal(answer) == Refusal(413, 3, "the request body is larger than 32 MiB", None)


def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    ids = {
        api.call("GET", path).headers["x-request-id"] for path in ("/v1/accounts", "/health", "/nowhere", "models/no")
    }
    assert len(ids) == 4
