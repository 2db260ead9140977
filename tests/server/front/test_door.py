"""The inference API before a request is routed: its paths, its key, its body."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import httpx
import pytest

from firectl.server.front.door import Limits
from tests.server.replicas.platform import CATALOG, ME, SCRIPTED, Platform, running

BASE = f"{CATALOG}/models/base"
D = f"{ME}/deployments/d"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One replica of BASE, and bounds small enough to meet."""
    limits = Limits(body_bytes=10_000, body_seconds=0.5)
    with running(tmp_path_factory.mktemp("door") / "local", SCRIPTED, limits) as platform:
        platform.ready(platform.deploy("d", platform.scripted_model(BASE)))
        yield platform


def error(response: httpx.Response) -> tuple[int, str | None, str]:
    body = response.json()["error"]
    return response.status_code, body["param"], body["message"]


def test_completions_are_served_under_both_prefixes(shared: Platform) -> None:
    for prefix in ("/inference/v1", "/v1"):
        url = shared.url.removesuffix("/inference/v1") + prefix
        answer = shared.client.post(f"{url}/completions", json={"model": D, "prompt": "tokens:1"})
        assert answer.json()["model"] == D
        assert shared.client.get(f"{url}/models").status_code == 200


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"{", None, "the body is not JSON"),
        (b"[]", None, "the body must be a JSON object"),
        (b'{"messages": []}', "model", "model is required"),
        (b'{"model": "m", "messages": [], "tools": [1]}', "tools", "tools is not supported"),
        (b'{"model": "m", "messages": [], "deployedModel": "d"}', "deployedModel", "name the model and its deployment"),
        (b"x" * 20_000, None, "the body is larger than 10000 bytes"),
    ],
)
def test_a_bad_request_is_refused_before_anything_else(
    shared: Platform, body: bytes, param: str | None, message: str
) -> None:
    status, named, words = error(shared.client.post("/chat/completions", content=body))
    assert (status, named) == (400, param)
    assert message in words


def test_a_body_that_does_not_come_is_given_up(shared: Platform) -> None:
    url = httpx.URL(shared.url)
    lines = [
        f"POST {url.path}/chat/completions HTTP/1.1",
        "Host: x",
        "Authorization: Bearer mine",
        "Content-Length: 99",
    ]
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", '{"model":']).encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        response = httpx.Response(answer.status, content=answer.read())
    assert error(response) == (408, None, "the request body did not arrive within 0 s")


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic mine"}])
def test_no_key_or_a_wrong_one_is_401_in_the_inference_form(shared: Platform, header: dict[str, str]) -> None:
    response = httpx.post(f"{shared.url}/chat/completions", json={"model": D, "messages": []}, headers=header)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "UNAUTHENTICATED"
