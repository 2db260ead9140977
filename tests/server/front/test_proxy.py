"""`server/front/proxy.py` to a client: whole answers, streams, refusals, and every way an engine can fail."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from firectl.schemas.deployment import Deployment
from firectl.server.front.door import Limits
from tests.server.replicas.platform import CATALOG, ME, SCRIPTED, Platform, prepared, running, wait

BASE = f"{CATALOG}/models/base"
D = f"{ME}/deployments/d"
PAIR = f"{ME}/deployments/pair"
KEY = {"authorization": "Bearer mine"}
LOST = "the replica that was answering ended; send the request again"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One replica of BASE with one adapter, `ad`, and bounds small enough to meet."""
    limits = Limits(answer_seconds=1.0)
    with running(tmp_path_factory.mktemp("proxy") / "local", SCRIPTED, limits) as platform:
        base = platform.scripted_model(BASE)
        name = platform.deploy("d", base, enable_addons=True)
        platform.deployed(platform.load(platform.scripted_model(f"{ME}/models/ad", base, voice="ad"), name))
        platform.deployed(platform.load(platform.scripted_model(f"{ME}/models/imp", base, voice="data: [DONE]"), name))
        yield platform


@pytest.fixture
def pair(platform: Platform) -> Platform:
    """Two replicas of BASE."""
    platform.ready(platform.deploy("pair", platform.scripted_model(BASE), replicas=2, max_replica_count=2))
    wait(lambda: platform.supervisor.replica_stats(PAIR).ready_replica_count == 2)
    return platform


def error(response: httpx.Response) -> tuple[int, str | None, str]:
    body = response.json()["error"]
    return response.status_code, body["param"], body["message"]


def engine_counts(platform: Platform, deployment: str = D) -> dict[str, int]:
    replicas = platform.supervisor.replica_set(deployment).replicas
    (replica,) = replicas.values()
    assert replica.client is not None
    return dict(httpx.get(f"http://127.0.0.1:{replica.client.port}/counts").json())


def test_a_stream_carries_every_event_and_names_the_model_as_asked(shared: Platform) -> None:
    route = f"{ME}/models/ad#{D}"
    chunk = {"model": route, "choices": [{"delta": {"content": "ad "}}]}
    assert shared.events(route, "tokens:4") == [chunk, chunk, chunk, chunk, "[DONE]"]


def test_text_that_reads_like_the_end_of_a_stream_is_not_its_end(shared: Platform) -> None:
    says = shared.events(f"{ME}/models/imp#{D}")
    assert [event["choices"][0]["delta"]["content"] for event in says[:-1]] == ["data: [DONE] "] * 3
    assert says[-1] == "[DONE]"


def test_events_are_sent_as_they_come(shared: Platform) -> None:
    body = {"model": D, "messages": [{"role": "user", "content": "tokens:4 pause:0.15"}], "stream": True}
    with shared.client.stream("POST", "/chat/completions", json=body) as response:
        times = [time.monotonic() for line in response.iter_lines() if line.startswith("data: {")]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == 3
    assert min(gaps) > 0.05


def test_a_stream_says_that_it_is_one_and_where_it_came_from(shared: Platform) -> None:
    body = {"model": D, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    response = shared.client.post("/chat/completions", json=body, headers={"x-request-id": "mine-1"})
    expected = {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        "x-firectl-deployment": D,
    }
    assert {name: response.headers[name] for name in expected if name in response.headers} == expected
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"]), "the platform's own, not the caller's"


@pytest.mark.parametrize("stream", [False, True])
def test_an_engines_refusal_comes_through_with_the_users_name_for_the_model(shared: Platform, stream: bool) -> None:
    route = f"{ME}/models/ad#{D}"
    response = shared.chat(route, "status:429", stream=stream)
    assert error(response) == (429, None, f"cannot serve {route}")
    assert response.headers["retry-after"] == "7"


def test_a_client_that_leaves_frees_the_engine_at_once(shared: Platform) -> None:
    before = engine_counts(shared)["cancelled"]
    body = {"model": D, "messages": [{"role": "user", "content": "tokens:100 pause:0.02"}], "stream": True}
    with shared.client.stream("POST", "/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
    wait(lambda: engine_counts(shared)["cancelled"] == before + 1)
    replicas = shared.supervisor.replica_set(D).replicas
    assert wait(lambda: [replica.in_flight for replica in replicas.values()] == [0])


def test_an_answer_that_takes_too_long_is_a_504(shared: Platform) -> None:
    assert error(shared.chat(D, "tokens:1 pause:5")) == (504, None, "no answer within 1 s")


def test_a_stream_that_takes_too_long_ends_with_an_error_event(shared: Platform) -> None:
    *events, last = shared.events(D, "tokens:100 pause:0.1")
    assert 5 <= len(events) <= 12
    assert last["error"]["message"] == "no answer within 1 s"


@pytest.mark.parametrize("content", ["tokens:5 cut:2", "tokens:2 quiet"])
def test_a_stream_cut_short_ends_with_an_error_event(shared: Platform, content: str) -> None:
    events = shared.events(D, content)
    assert len(events) == 3
    assert events[-1]["error"] == {"message": LOST, "type": "server_error", "param": None, "code": "UNAVAILABLE"}


@pytest.mark.parametrize("stream", [False, True])
def test_with_one_replica_its_crash_is_an_error_not_a_hang(platform: Platform, stream: bool) -> None:
    name = platform.deploy("d", platform.scripted_model(BASE))
    platform.ready(name)
    response = platform.chat(name, "die:0 pause:0.1", stream=stream)
    assert error(response) == (503, None, LOST)
    assert response.headers["retry-after"] == "1"


def test_a_death_in_the_middle_of_a_stream_ends_it_with_an_error_event(platform: Platform) -> None:
    name = platform.deploy("d", platform.scripted_model(BASE))
    platform.ready(name)
    events = platform.events(name, "tokens:5 die:2")
    assert [event["choices"][0]["delta"]["content"] for event in events[:-1]] == ["base ", "base "]
    assert events[-1]["error"]["message"] == LOST


@pytest.mark.parametrize("stream", [False, True])
def test_where_nothing_was_sent_another_replica_answers_once(pair: Platform, stream: bool, tmp_path: Path) -> None:
    (first, second) = pair.pids(PAIR)
    # The request kills every replica that takes it: after the second one the proxy must give up.
    response = pair.chat(PAIR, "die:0", stream=stream)
    assert error(response) == (503, None, LOST)
    wait(lambda: len(new := pair.pids(PAIR)) == 2 and not {first, second} & set(new))


def test_a_replica_that_refuses_connections_is_passed_over(pair: Platform) -> None:
    first = pair.supervisor.replica_set(PAIR).replicas[0].client
    assert first is not None
    first.port = 1  # no process listens there, and the pool has no connection
    assert pair.chat(PAIR, "tokens:1").status_code == 200


def test_a_replica_that_went_away_after_it_was_picked_is_passed_over(pair: Platform) -> None:
    replicas = pair.supervisor.replica_set(PAIR).replicas
    gone, there = replicas[0], replicas[1]
    client, gone.client = gone.client, None  # still listed as serving, so the router picks it first
    assert pair.chat(PAIR, "tokens:1").status_code == 200
    there_client, there.client = there.client, None
    refused = pair.chat(PAIR, "tokens:1")
    assert error(refused) == (503, None, f"every replica of {PAIR} just went away")
    assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == ("DEPLOYMENT_NOT_READY", "1")
    gone.client, there.client = client, there_client
    assert pair.chat(PAIR, "tokens:1").status_code == 200


def test_requests_go_to_the_replica_with_the_least_to_do(pair: Platform) -> None:
    replicas = pair.supervisor.replica_set(PAIR).replicas
    body = {"model": PAIR, "messages": [{"role": "user", "content": "tokens:20 pause:0.05"}], "stream": True}
    with pair.client.stream("POST", "/chat/completions", json=body) as one:
        first = one.iter_lines()
        next(first)
        with pair.client.stream("POST", "/chat/completions", json=body) as two:
            second = two.iter_lines()
            next(second)
            assert [replica.in_flight for replica in replicas.values()] == [1, 1]


def test_a_request_is_remembered_and_counted_and_a_probe_is_not(platform: Platform) -> None:
    name = platform.deploy("d", platform.scripted_model(BASE))
    platform.ready(name)
    assert platform.chat(name, headers={"x-firectl-probe": "1"}).status_code == 200
    assert platform.supervisor.traffic.last_request_time(name) is None
    platform.chat(name, "tokens:5 prompt:7")
    platform.events(name, "tokens:4 prompt:2")
    platform.chat(name, "status:500")
    platform.set(name, desired_replicas=0, resource=Deployment(base_model=BASE, max_replica_count=0))
    wait(lambda: platform.pids(name) == [])
    assert platform.chat(name).status_code == 412
    time_of_request: Any = platform.supervisor.traffic.last_request_time(name)
    assert time_of_request is not None
    wait(lambda: platform.deployment(name).last_request_time == time_of_request)

    def counted() -> tuple[int, ...]:
        with platform.store.read() as tx:
            rows = tx.usage.between(f"{ME}/", 0, 2**40)
        assert {(row.deployment, row.model) for row in rows} <= {(name, BASE)}
        amounts = ("requests", "errors", "prompt_tokens", "generated_tokens")
        return tuple(sum(getattr(row, amount) for row in rows) for amount in amounts)

    wait(lambda: counted() == (4, 2, 9, 9), 3)
    page = platform.supervisor.traffic.metrics.page(ME, []).decode()
    for line in (
        f'firectl_requests_total{{deployment="{name}",model="{BASE}",status="200"}} 2.0',
        f'firectl_requests_total{{deployment="{name}",model="{BASE}",status="500"}} 1.0',
        f'firectl_requests_total{{deployment="{name}",model="{BASE}",status="412"}} 1.0',
        f'firectl_time_to_first_token_seconds_count{{deployment="{name}",model="{BASE}"}} 1.0',
        f'firectl_request_duration_seconds_count{{deployment="{name}",model="{BASE}"}} 2.0',
    ):
        assert line in page


def test_a_stream_that_its_client_leaves_counts_as_left(shared: Platform) -> None:
    body = {"model": D, "messages": [{"role": "user", "content": "tokens:100 pause:0.02"}], "stream": True}
    with shared.client.stream("POST", "/chat/completions", json=body) as response:
        lines = response.iter_lines()  # kept: httpx closes the connection when this iterator goes
        next(lines)
    left = f'firectl_requests_total{{deployment="{D}",model="{BASE}",status="499"}}'
    wait(lambda: left in shared.supervisor.traffic.metrics.page(ME, []).decode())
    wait(lambda: shared.supervisor.traffic.of(D).in_flight == 0)


def test_a_stream_that_the_platforms_end_cuts_short_says_so(tmp_path: Path) -> None:
    platform = prepared(tmp_path / "local")
    name = platform.deploy("d", platform.scripted_model(BASE))
    platform.up()
    platform.ready(name)
    body = {"model": name, "messages": [{"role": "user", "content": "tokens:1000 pause:0.1"}], "stream": True}
    ended = threading.Thread(target=platform.down)
    # A client of its own: the platform's is closed as it goes down.
    with httpx.stream("POST", f"{platform.url}/chat/completions", json=body, headers=KEY, timeout=30) as response:
        lines = (line for line in response.iter_lines() if line)
        next(lines)
        ended.start()
        *_, last = lines
    ended.join()
    assert json.loads(last.removeprefix("data: "))["error"] == {
        "message": "the platform is shutting down; send the request again once it is up",
        "type": "server_error",
        "param": None,
        "code": "UNAVAILABLE",
    }
