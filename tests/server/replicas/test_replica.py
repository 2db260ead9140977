"""`server/replicas/replica.py`: engines that crash, hang or refuse, and what becomes of their adapters."""

from __future__ import annotations

import os
import signal

import psutil

from firectl.schemas.base import Status
from tests.server.replicas.platform import CATALOG, ME, Platform, wait

BASE = f"{CATALOG}/models/base"
AD = f"{ME}/models/ad"


def base(platform: Platform, **script: object) -> str:
    return platform.scripted_model(BASE, **script)


def test_a_killed_engine_comes_back_with_its_adapters_and_the_state_says_so(platform: Platform) -> None:
    name = platform.deploy("d", base(platform, start_seconds=0.3), enable_addons=True)
    row = platform.load(platform.scripted_model(AD, BASE, voice="ad"), name)
    platform.deployed(row)
    (pid,) = platform.pids(name)
    os.kill(pid, signal.SIGKILL)
    wait(lambda: platform.deployment(name).state == "UPDATING")
    told = Status(code="UNAVAILABLE", message="replica exited (killed by signal 9); restarting")
    assert platform.deployment(name).status == told
    refused = platform.chat(f"{AD}#{name}")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "DEPLOYMENT_NOT_READY"
    assert "killed by signal 9" in refused.json()["error"]["message"]
    platform.ready(name)
    answer = platform.chat(f"{AD}#{name}", "tokens:1")
    assert answer.json()["choices"][0]["message"]["content"] == "ad"
    assert platform.pids(name) != [pid]
    loaded = platform.load_row(row)
    assert loaded.state == "DEPLOYED"


def test_a_replica_is_not_ready_again_before_its_adapters_are(platform: Platform) -> None:
    name = platform.deploy("d", base(platform), enable_addons=True)
    row = platform.load(platform.scripted_model(AD, BASE, load_seconds=0.5), name)
    platform.deployed(row)
    os.kill(platform.pids(name)[0], signal.SIGKILL)
    wait(lambda: platform.deployment(name).status.message == "loading adapters")
    assert platform.deployment(name).state == "UPDATING"
    assert platform.chat(name).status_code == 503
    platform.ready(name)
    assert platform.chat(f"{AD}#{name}").status_code == 200


def test_an_engine_that_no_longer_answers_is_replaced(platform: Platform) -> None:
    name = platform.deploy("d", base(platform))
    platform.ready(name)
    (pid,) = platform.pids(name)
    os.kill(pid, signal.SIGSTOP)
    wait(lambda: platform.deployment(name).status.message == "replica stopped answering; restarting")
    platform.ready(name)
    assert not psutil.pid_exists(pid)


def test_a_model_that_the_engine_cannot_load_fails_with_the_engines_words(platform: Platform) -> None:
    name = platform.deploy("d", base(platform, unloadable="config.json has no model_type"))
    wait(lambda: platform.deployment(name).state == "FAILED")
    reason = "engine cannot load the model: config.json has no model_type"
    assert platform.deployment(name).status == Status(code="INTERNAL", message=reason)
    assert platform.pids(name) == []
    own = platform.load_row(f"{ME}/deployedModels/own-d")
    assert (own.state, own.status.message) == ("UNDEPLOYING", f"the deployment failed: {reason}")
    platform.pass_time(16)
    wait(lambda: platform.loaded(own.name) is None)


def test_an_engine_that_dies_at_every_start_is_given_up_with_its_last_words(platform: Platform) -> None:
    name = platform.deploy("d", base(platform, crash="no such device"))

    def failed() -> bool:
        platform.pass_time(30)
        return platform.deployment(name).state == "FAILED"

    wait(failed)
    words = "replica exited (exit code 1: RuntimeError: no such device)"
    assert platform.deployment(name).status.message == words


def test_a_refused_adapter_says_why_for_a_while_and_leaves_the_rest_serving(platform: Platform) -> None:
    name = platform.deploy("d", base(platform), enable_addons=True)
    good = platform.load(platform.scripted_model(AD, BASE), name)
    bad = platform.load(platform.scripted_model(f"{ME}/models/bad", BASE, refuse="rank 65 is above 64"), name)
    wait(lambda: (row := platform.loaded(bad)) is not None and row.state == "UNDEPLOYING")
    row = platform.load_row(bad)
    assert row.status == Status(code="FAILED_PRECONDITION", message="rank 65 is above 64")
    answer = platform.chat(f"{ME}/models/bad#{name}")
    assert answer.status_code == 404
    assert "rank 65 is above 64" in answer.json()["error"]["message"]
    platform.deployed(good)
    platform.pass_time(16)
    wait(lambda: platform.loaded(bad) is None)
    assert platform.deployment(name).state == "READY"


def test_an_adapter_that_kills_the_engine_is_given_up_and_the_deployment_serves_on(platform: Platform) -> None:
    name = platform.deploy("d", base(platform), enable_addons=True)
    platform.ready(name)
    bad = platform.load(platform.scripted_model(f"{ME}/models/bad", BASE, die=True), name)

    def given_up() -> bool:
        platform.pass_time(0.5)
        row = platform.loaded(bad)
        return row is not None and row.state == "UNDEPLOYING"

    wait(given_up, 20)
    row = platform.load_row(bad)
    why = "the engine died while loading the adapter: replica exited (killed by signal 9)"
    assert row.status.message == why
    platform.pass_time(30)
    platform.ready(name)
    assert platform.chat(name).status_code == 200
