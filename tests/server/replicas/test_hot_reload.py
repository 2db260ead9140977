"""The latest addon is merged while the previous one serves: no request fails or gets another model's answer."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from firectl.schemas.deployment import Deployment
from tests.server.replicas.adapters import write_adapter
from tests.server.replicas.platform import CATALOG, ME, SCRIPTED, Platform, prepared, running, wait
from tests.server.replicas.test_restart import all_ended, chat, served
from tests.tiny import make_base

BASE = f"{CATALOG}/models/base"
ONE, TWO = f"{ME}/models/one", f"{ME}/models/two"
MERGING = 60


def with_models(platform: Platform, folder: Path, hidden: int = 64) -> Platform:
    folder.mkdir(exist_ok=True)
    platform.add_model(BASE, make_base(folder / "base", hidden=hidden))
    for name, value in ((ONE, 0.4), (TWO, -0.3)):
        adapter = write_adapter(folder / name.rsplit("/", 1)[1], hidden, value=value)
        platform.add_model(name, adapter, BASE)
    return platform


def voice_of(platform: Platform, name: str) -> str:
    """What the scripted engine says for a model: the name of the merged folder."""
    return "base" if name == BASE else platform.merged_key(BASE, name)


@pytest.fixture
def hot(tmp_path: Path) -> Iterator[Platform]:
    """A base and two adapters; nothing deployed."""
    with running(tmp_path / "local", SCRIPTED) as platform:
        yield with_models(platform, tmp_path / "models")


def deploy(platform: Platform, replicas: int = 1) -> str:
    name = platform.deploy(
        "hot", BASE, replicas=replicas, max_replica_count=replicas, enable_hot_reload_latest_addon=True
    )
    platform.ready(name)
    return name


def voice(platform: Platform, route: str) -> Any:
    answer = platform.chat(route, "tokens:1")
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def test_the_latest_addon_answers_without_a_request_failing_and_the_base_comes_back(hot: Platform) -> None:
    name = deploy(hot)
    heard: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            heard.append(voice(hot, name))

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            first = hot.load(ONE, name, "one")
            hot.deployed(first, MERGING)
            assert voice(hot, name) == voice(hot, f"{ONE}#{name}") == voice_of(hot, ONE)
            record = hot.deployment(name).merge_record
            assert record is not None
            assert record["tensors_changed"] == 2
            second = hot.load(TWO, name, "two")
            hot.deployed(second, MERGING)
            assert voice(hot, name) == voice_of(hot, TWO)
            wait(lambda: hot.loaded(first) is None)
            assert hot.ready(name).status.message == ""
            assert hot.chat(f"{ONE}#{name}").status_code == 404
            refused = hot.chat(f"{BASE}#{name}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NOT_FOUND")
            assert f"{TWO} is merged into {BASE}" in refused.text
            hot.set(second, state="UNDEPLOYING")
            wait(lambda: hot.loaded(second) is None)
            assert voice(hot, name) == voice(hot, f"{BASE}#{name}") == "base"
        finally:
            over.set()
        for asked in asking:
            asked.result()
    changes = [said for said, before in zip(heard, ["", *heard], strict=False) if said != before]
    merged = {voice_of(hot, ONE), voice_of(hot, TWO)}
    assert set(changes) == {"base", *merged}
    assert hot.deployment(name).merge_record is None
    wait(lambda: not any(path.name in merged for path in (hot.home / "merged").iterdir()))


@pytest.mark.slow
def test_a_stream_in_flight_is_finished_by_the_weights_that_began_it(hot: Platform) -> None:
    name = deploy(hot)
    body = {"model": name, "messages": [{"role": "user", "content": "tokens:60 pause:0.1"}], "stream": True}
    with hot.client.stream("POST", "/chat/completions", json=body) as response:
        lines = (line for line in response.iter_lines() if line)
        next(lines)
        hot.deployed(hot.load(ONE, name), MERGING)
        assert voice(hot, name) == voice_of(hot, ONE)
        rest = list(lines)
    assert rest[-1] == "data: [DONE]"
    assert all("base" in line for line in rest[:-1])


@pytest.mark.slow
def test_an_addon_that_cannot_be_merged_goes_and_the_one_before_serves_on(hot: Platform, tmp_path: Path) -> None:
    name = deploy(hot)
    hot.deployed(hot.load(ONE, name), MERGING)
    wrong = hot.add_model(f"{ME}/models/wrong", write_adapter(tmp_path / "wrong", 128), BASE)
    row = hot.load(wrong, name)
    wait(lambda: (found := hot.loaded(row)) is not None and found.state == "UNDEPLOYING", MERGING)
    found = hot.load_row(row)
    assert str(found.status.message).startswith("merge failed: ")
    wait(lambda: hot.deployment(name).state == "READY")
    assert voice(hot, name) == voice_of(hot, ONE)


@pytest.mark.slow
def test_two_replicas_switch_together_and_later_ones_hold_the_addon_too(hot: Platform) -> None:
    name = deploy(hot, replicas=2)
    hot.deployed(hot.load(ONE, name), MERGING)
    wait(lambda: hot.supervisor.replica_stats(name).ready_replica_count == 2)
    hot.set(name, desired_replicas=3, resource=Deployment(max_replica_count=3, enable_hot_reload_latest_addon=True))
    wait(lambda: hot.supervisor.replica_stats(name).ready_replica_count == 3)
    assert {voice(hot, name) for _ in range(9)} == {voice_of(hot, ONE)}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["merging", "starting"])
def test_killed_in_the_middle_it_comes_back_with_the_latest_addon(tmp_path: Path, moment: str) -> None:
    hidden = 1024 if moment == "merging" else 64
    platform = with_models(prepared(tmp_path / "local"), tmp_path / "models", hidden)
    name = platform.deploy("hot", BASE, enable_hot_reload_latest_addon=True)
    with served(platform.home) as (process, url):
        wait(lambda: chat(url, name).status_code == 200)
        first = platform.load(ONE, name, "one")
        if moment == "merging":
            wait(lambda: list((platform.home / "merged").glob("*")), MERGING)
        else:
            platform.deployed(first, MERGING)
            second = platform.load(TWO, name, "two")
            wait(lambda: platform.deployment(name).served_folder == f"merged/{voice_of(platform, TWO)}", MERGING)
        children = process.children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
    wait(lambda: all_ended(children))
    with served(platform.home) as (process, url):
        latest, wanted = (first, ONE) if moment == "merging" else (second, TWO)
        wait(lambda: (row := platform.loaded(latest)) is not None and row.state == "DEPLOYED", MERGING)
        answer = wait(lambda: (found := chat(url, name)).status_code == 200 and found)
        assert answer.json()["choices"][0]["message"]["content"] == voice_of(platform, wanted)
        wait(lambda: len(process.children(recursive=True)) == 1)
        if moment == "starting":
            wait(lambda: platform.loaded(first) is None)
        engines = process.children(recursive=True)
    wait(lambda: all_ended(engines))
    platform.store.close()
