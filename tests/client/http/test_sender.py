"""What is sent again, what is not, and that nothing is made twice (`client/http/sender.py`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from firectl import Client
from firectl.client import Exchange
from firectl.errors import ApiError, Code, Exit, NetworkError
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from tests.client.script_server import RESET, Received, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]
BASE = "accounts/fireworks/models/base"
MODEL = {"name": "accounts/acme/models/m", "state": "READY"}
EXISTS = answer(409, {"code": 6, "message": "it exists", "details": []})


class Platform:
    """Deployments and models made by POST. `lose` says which requests' answers are lost, before or after the work."""

    def __init__(self, lose: Callable[[int], str | None] = lambda _: None) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.posts = 0
        self.lose = lose
        self.lock = threading.Lock()

    def __call__(self, request: Received) -> Reply:
        with self.lock:
            path = urlsplit(request.path)
            if request.method == "GET":
                found = self.made.get(path.path.removeprefix("/v1/"))
                return answer(200, found) if found else answer(404, {"code": 5, "message": "no"})
            self.posts += 1
            lost = self.lose(self.posts)
            if lost == "before":
                return RESET
            reply = self._create(request, path.path.removeprefix("/v1/"), parse_qs(path.query))
            return RESET if lost == "after" else reply

    def _create(self, request: Received, parent: str, query: dict[str, list[str]]) -> Reply:
        body = request.json
        key = query["deploymentId"][0] if parent.endswith("deployments") else body["modelId"]
        name = f"{parent}/{key}"
        if name in self.made:
            return EXISTS
        resource = body if parent.endswith("deployments") else body["model"]
        self.made[name] = {**resource, "name": name, "createTime": datetime.now(UTC).isoformat()}
        return answer(200, self.made[name])


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_create_whose_answer_is_lost_makes_one_and_returns_it(serve: Serve, connect: Connect, lost: str) -> None:
    platform = Platform(lambda post: lost if post == 1 else None)
    client = connect(serve(platform).url)
    made = client.deployments.create(Deployment(base_model=BASE), deployment_id="d1")
    assert (made.name, made.base_model) == ("accounts/acme/deployments/d1", BASE)
    assert list(platform.made) == ["accounts/acme/deployments/d1"]
    assert platform.posts == 2


def test_sixty_creates_through_a_line_that_breaks_make_exactly_sixty(serve: Serve, connect: Connect) -> None:
    broken = ("before", None, "after", None, "after", "after", None)
    platform = Platform(lambda post: broken[post % len(broken)])
    client = connect(serve(platform).url, max_retries=5)
    names = {client.deployments.create(Deployment(base_model=BASE)).name for _ in range(30)}
    names |= {client.models.create(f"m{n}", Model(kind="HF_BASE_MODEL")).name for n in range(30)}
    assert len(names) == 60
    assert set(platform.made) == names
    assert platform.posts > 60


def test_one_that_was_there_before_is_an_error_at_once(serve: Serve, connect: Connect) -> None:
    server = serve(EXISTS)
    with pytest.raises(ApiError, match="it exists") as caught:
        connect(server.url).models.create("m", Model(kind="HF_BASE_MODEL"))
    assert (caught.value.code, caught.value.exit_code) == (Code.ALREADY_EXISTS, Exit.CONFLICT)
    assert len(server.received) == 1


def test_a_refusal_by_a_busy_server_leaves_no_doubt_so_a_later_conflict_is_one(serve: Serve, connect: Connect) -> None:
    server = serve(answer(429, {"code": 8, "message": "busy"}), EXISTS)
    with pytest.raises(ApiError, match="it exists"):
        connect(server.url).deployments.create(Deployment(base_model=BASE), deployment_id="d1")
    assert [request.method for request in server.received] == ["POST", "POST"]


def test_a_request_that_may_not_be_repeated_is_sent_once(serve: Serve, connect: Connect) -> None:
    server = serve(RESET)
    with pytest.raises(NetworkError):
        connect(server.url).request("POST", "/v1/accounts/acme/users/u/apiKeys", body={})
    assert len(server.received) == 1


def test_the_wait_that_the_server_asks_for_is_kept(serve: Serve, connect: Connect) -> None:
    busy = {"code": 8, "message": "busy"}
    date = format_datetime(datetime.fromtimestamp(1_700_000_012, UTC), usegmt=True)
    server = serve(
        answer(429, busy, {"Retry-After": "3"}), answer(503, busy, {"Retry-After": date}), answer(200, {"name": "n"})
    )
    client = connect(server.url, clock=lambda: 1_700_000_000.0)
    assert client.models.get("m").name == "n"
    assert client.slept == [3.0, 12.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_longer_wait_is_not_kept_but_told(serve: Serve, connect: Connect, status: int) -> None:
    server = serve(answer(status, {"message": "busy"}, {"Retry-After": "90"}))
    client = connect(server.url)
    with pytest.raises(ApiError) as caught:
        client.models.get("m")
    assert caught.value.hint == "the server asks to try again in 90 s"
    assert caught.value.exit_code is Exit.RETRY_LATER
    assert client.slept == []  # type: ignore[attr-defined]


def test_an_abort_is_tried_again(serve: Serve, connect: Connect) -> None:
    server = serve(answer(409, {"code": 10, "message": "try again"}), answer(200, {"name": "n"}))
    assert connect(server.url).models.get("m").name == "n"


def test_every_try_is_reported(serve: Serve, connect: Connect) -> None:
    seen: list[Exchange] = []
    server = serve(
        RESET, answer(503, {"message": "busy"}, {"x-request-id": "r1"}), answer(200, MODEL, {"x-request-id": "r2"})
    )
    connect(server.url, on_response=seen.append).models.get("m")
    told = [(e.method, e.path, e.status, e.request_id, e.retry_in) for e in seen]
    path = "/v1/accounts/acme/models/m"
    assert told == [("GET", path, None, None, 0.5), ("GET", path, 503, "r1", 1.0), ("GET", path, 200, "r2", None)]
    assert seen[1].error is not None
    assert seen[1].error.message == "busy"
    assert all(0 <= exchange.seconds < 5 for exchange in seen)
