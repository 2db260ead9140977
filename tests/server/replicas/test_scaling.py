"""Replicas scale with the traffic and the clock: real processes, and a clock that jumps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from firectl.schemas.deployment import AutoscalingPolicy, Deployment
from tests.server.process import PlatformProcess, until
from tests.server.replicas.platform import CATALOG, SCRIPTED, Platform, prepared, running, wait
from tests.tiny import make_base

BASE = f"{CATALOG}/models/base"
MINUTES = 60


def ready(platform: Platform, name: str) -> int:
    return platform.supervisor.replica_stats(name).ready_replica_count or 0


def counts(platform: Platform, name: str) -> list[int]:
    """How many answers each replica gave."""
    replicas = platform.supervisor.replica_set(name).replicas
    ports = [replica.client.port for replica in replicas.values() if replica.client is not None]
    return [int(httpx.get(f"http://127.0.0.1:{port}/counts").json()["answered"]) for port in ports]


def test_an_idle_deployment_stops_and_a_request_brings_it_back(platform: Platform) -> None:
    name = platform.deploy("d", platform.scripted_model(BASE))
    platform.ready(name)
    assert platform.chat(name).status_code == 200
    # The client has its answer a moment before the platform has written down when that was.
    wait(lambda: platform.supervisor.traffic.of(name).in_flight == 0)
    platform.pass_time(50 * MINUTES)
    # A probe is nobody's wish for an answer.
    assert platform.chat(name, headers={"x-firectl-probe": "1"}).status_code == 200
    platform.pass_time(11 * MINUTES)
    wait(lambda: platform.pids(name) == [])
    row = wait(lambda: (now := platform.deployment(name)).status.message == "scaled to zero" and now)
    assert (row.state, row.desired_replicas) == ("READY", 0)
    began = time.monotonic()
    refused = platform.chat(name)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "DEPLOYMENT_SCALING_UP")
    assert time.monotonic() - began < 1
    wait(lambda: platform.chat(name).status_code == 200)
    assert platform.deployment(name).desired_replicas == 1


def test_idleness_is_judged_by_the_stored_time_after_a_restart(tmp_path: Path) -> None:
    platform = prepared(tmp_path / "local")
    base = platform.scripted_model(BASE)
    names = [platform.deploy(short, base) for short in ("old", "new")]
    for name, ago in zip(names, (61, 1), strict=True):
        since = platform.now() - timedelta(minutes=ago)
        platform.set(name, state="READY", create_time=since, last_request_time=since)
    platform.up()
    try:
        wait(lambda: platform.deployment(names[0]).desired_replicas == 0)
        platform.ready(names[1])
        assert platform.deployment(names[1]).desired_replicas == 1
    finally:
        platform.down()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Platform]:
    """Replicas that work on two requests at once."""
    with running(tmp_path / "local", replace(SCRIPTED, max_num_seqs=2)) as platform:
        yield platform


def test_load_brings_a_second_replica_that_answers_too_and_its_end_takes_it_away(small: Platform) -> None:
    policy = AutoscalingPolicy(
        scale_up_window=timedelta(seconds=2),
        scale_down_window=timedelta(seconds=2),
        load_targets={"default": 0.8},
    )
    name = small.deploy("d", small.scripted_model(BASE), max_replica_count=2, autoscaling_policy=policy)
    small.ready(name)
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(small.chat, name, "tokens:50 pause:0.1") for _ in range(3)]
        wait(lambda: ready(small, name) == 2)
        before = counts(small, name)
        both = [pool.submit(small.chat, name, "tokens:2 pause:0.05") for _ in range(20)]
        assert {answer.result().status_code for answer in (*asking, *both)} == {200}
        assert all(after > earlier for after, earlier in zip(counts(small, name), before, strict=True))
    wait(lambda: small.deployment(name).desired_replicas == 1)
    wait(lambda: len(small.pids(name)) == 1)


def test_a_replica_too_many_ends_when_its_stream_did(platform: Platform) -> None:
    name = platform.deploy("d", platform.scripted_model(BASE), replicas=2, max_replica_count=2)
    wait(lambda: ready(platform, name) == 2)
    body = {"model": name, "messages": [{"role": "user", "content": "tokens:20 pause:0.1"}], "stream": True}
    with platform.client.stream("POST", "/chat/completions", json=body) as response:
        lines = (line for line in response.iter_lines() if line)
        next(lines)
        platform.set(name, desired_replicas=0, resource=Deployment(max_replica_count=0))
        wait(lambda: ready(platform, name) == 0)
        # The one without a request ends at once, the other is counted until its answer is whole.
        wait(lambda: platform.supervisor.replica_count(name) == 1)
        said = "parked: max replica count is 0; 1 replica is finishing its answers"
        wait(lambda: platform.deployment(name).status.message == said)
        assert platform.supervisor.replica_stats(name).initializing_replica_count == 0
        assert [*lines][-1] == "data: [DONE]"
    wait(lambda: platform.supervisor.replica_count(name) == 0)
    assert platform.pids(name) == []
    wait(lambda: platform.deployment(name).status.message == "parked: max replica count is 0")


def test_a_replica_that_leaves_is_never_called_starting(platform: Platform) -> None:
    name = platform.deploy("d", platform.scripted_model(BASE), replicas=2, max_replica_count=2)
    wait(lambda: ready(platform, name) == 2)
    platform.set(name, desired_replicas=0)

    def gone() -> bool:
        assert platform.supervisor.replica_stats(name).initializing_replica_count == 0
        return platform.supervisor.replica_count(name) == 0

    wait(gone)


def test_a_changed_setting_replaces_replicas_and_every_request_is_answered(platform: Platform) -> None:
    name = platform.deploy("d", platform.scripted_model(BASE), replicas=2, max_replica_count=2)
    wait(lambda: ready(platform, name) == 2)
    before = set(platform.pids(name))
    resource = Deployment(max_replica_count=2, max_context_length=64)
    platform.set(name, resource=resource)
    states = set()

    def replaced() -> bool:
        assert platform.chat(name, "tokens:1").status_code == 200
        states.add(platform.deployment(name).state)
        now = set(platform.pids(name))
        return len(now) == 2 and not now & before and platform.deployment(name).state == "READY"

    wait(replaced, 20)
    assert states == {"UPDATING", "READY"}


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_five_minutes_without_a_request_really_stop_a_real_replica(tmp_path: Path) -> None:
    process = PlatformProcess(tmp_path / "local")
    try:
        api = process.api
        base = api.ready_model(make_base(tmp_path / "base", hidden=64))
        policy = {"scaleToZeroWindow": "300s"}
        api.ok("POST", "deployments", {"baseModel": base, "autoscalingPolicy": policy}, deploymentId="d")
        until(lambda: api.deployment("d")["state"] == "READY", 120)
        name = f"{api.account}/deployments/d"
        body = {"model": name, "prompt": "a", "max_tokens": 2}
        assert api.call("POST", "/inference/v1/completions", body).status_code == 200
        asked = time.monotonic()
        until(lambda: api.deployment("d")["desiredReplicaCount"] == 0, 400)
        assert 300 <= time.monotonic() - asked < 310
        until(lambda: api.deployment("d")["replicaCount"] == 0)
        assert api.deployment("d")["state"] == "READY"
        refused = api.call("POST", "/inference/v1/completions", body)
        assert refused.json()["error"]["code"] == "DEPLOYMENT_SCALING_UP"
        until(lambda: api.call("POST", "/inference/v1/completions", body).status_code == 200, 120)
    finally:
        process.stop()
