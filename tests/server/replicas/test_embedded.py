"""Real engines and real weights: a live merge and a multi-LoRA deployment of one tiny model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from firectl.server.replicas.fleet import FleetSettings
from tests.server.replicas.adapters import write_adapter
from tests.server.replicas.platform import CATALOG, ME, Platform, running, wait
from tests.tiny import make_base

BASE = f"{CATALOG}/models/base"
LEFT, RIGHT, WIDE = f"{ME}/models/left", f"{ME}/models/right", f"{ME}/models/wide"
MERGE, MULTI, BROKEN = f"{ME}/deployments/merge", f"{ME}/deployments/multi", f"{ME}/deployments/broken"
STARTING = 120


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """LEFT merged into BASE as `merge`; BASE with LEFT and RIGHT loaded as `multi`; both READY."""
    folder = tmp_path_factory.mktemp("embedded")
    base = make_base(folder / "base", hidden=64)
    broken = make_base(folder / "broken", hidden=64)
    (broken / "config.json").write_text("{}")
    with running(folder / "local", FleetSettings(threads=1)) as platform:
        platform.add_model(BASE, base)
        platform.add_model(LEFT, write_adapter(folder / "left", 64, value=0.4), BASE)
        platform.add_model(RIGHT, write_adapter(folder / "right", 64, value=-0.3, r=8), BASE)
        platform.add_model(WIDE, write_adapter(folder / "wide", 128), BASE)
        platform.add_model(f"{CATALOG}/models/broken", broken)
        platform.deploy("merge", LEFT, BASE)
        multi = platform.deploy("multi", BASE, enable_addons=True)
        loads = [platform.load(model, multi) for model in (LEFT, RIGHT)]
        platform.deploy("broken", f"{CATALOG}/models/broken")
        platform.ready(MERGE, STARTING)
        for load in loads:
            platform.deployed(load, STARTING)
        yield platform


ROUTES = (MERGE, MULTI, f"{LEFT}#{MULTI}", f"{RIGHT}#{MULTI}")


def answer(platform: Platform, route: str) -> str:
    response = platform.chat(route, "Hello", temperature=0, max_tokens=16)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def text(events: list[Any]) -> str:
    assert events[-1] == "[DONE]"
    return "".join(choice["delta"].get("content") or "" for event in events[:-1] for choice in event["choices"])


def test_each_route_answers_in_its_own_voice_and_both_ways_to_deploy_agree(live: Platform) -> None:
    merge, base, left, right = (answer(live, route) for route in ROUTES)
    assert merge == left
    assert len({base, left, right}) == 3


def test_streams_to_different_adapters_at_once_are_what_each_says_alone(live: Platform) -> None:
    alone = {route: answer(live, route) for route in ROUTES}
    asked = [route for _ in range(4) for route in ROUTES]
    with ThreadPoolExecutor(16) as pool:
        streams = list(pool.map(lambda r: text(live.events(r, "Hello", temperature=0, max_tokens=16)), asked))
    assert streams == [alone[route] for route in asked]


def test_an_adapter_of_another_shape_is_refused_by_name_and_the_rest_serve_on(live: Platform) -> None:
    row = live.load(WIDE, MULTI)
    wait(lambda: (found := live.loaded(row)) is not None and found.state == "UNDEPLOYING", STARTING)
    found = live.load_row(row)
    assert found.status.code == "FAILED_PRECONDITION"
    assert "q_proj" in str(found.status.message)
    assert answer(live, f"{LEFT}#{MULTI}") == answer(live, MERGE)


def test_a_base_that_the_engine_cannot_load_fails_with_its_words(live: Platform) -> None:
    wait(lambda: live.deployment(BROKEN).state == "FAILED", STARTING)
    message = str(live.deployment(BROKEN).status.message)
    assert message.startswith("engine cannot load the model: ")
    assert message.endswith("config.json of the base model: model_type is missing")


def test_a_killed_engine_ends_its_streams_with_an_error_and_comes_back_with_its_adapters(live: Platform) -> None:
    route = f"{RIGHT}#{MULTI}"
    before = answer(live, route)
    body = {"model": route, "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 450}
    (pid,) = live.pids(MULTI)
    with live.client.stream("POST", "/chat/completions", json={**body, "ignore_eos": True}) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(pid, signal.SIGKILL)
        last = [line for line in lines if line][-1]
    assert "the replica that was answering ended" in last
    wait(lambda: live.deployment(MULTI).state == "UPDATING")
    assert "killed by signal 9" in str(live.deployment(MULTI).status.message)
    live.ready(MULTI, STARTING)
    assert answer(live, route) == before
