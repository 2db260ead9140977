"""Replicas under bad luck: killed, stuck, broken from the start; and everything that must be gone at the end."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import psutil
import pytest

from firectl.schemas.base import Status
from firectl.server.replicas.launcher import read_log_end
from tests.server.replicas.platform import CATALOG, ME, Platform, wait

BASE = f"{CATALOG}/models/base"
AD = f"{ME}/models/ad"


def base(platform: Platform, **script: object) -> str:
    return platform.scripted_model(BASE, **script)


def until_unloaded(platform: Platform, row: str) -> None:
    wait(lambda: platform.loaded(row) is None)


def until_ready(platform: Platform, name: str, count: int) -> None:
    """That many replicas are ready, and no other one has a process."""
    wait(lambda: platform.supervisor.replica_stats(name).ready_replica_count == count)
    wait(lambda: len(platform.pids(name)) == count)


def test_a_killed_engine_comes_back_with_its_adapters_and_the_state_says_what_happens(platform: Platform) -> None:
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
    loaded = platform.loaded(row)
    assert loaded is not None
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
    own = platform.loaded(f"{ME}/deployedModels/own-d")
    assert own is not None
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
    row = platform.loaded(bad)
    assert row is not None
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
    row = platform.loaded(bad)
    assert row is not None
    why = "the engine died while loading the adapter: replica exited (killed by signal 9)"
    assert row.status.message == why
    platform.pass_time(30)
    platform.ready(name)
    assert platform.chat(name).status_code == 200


def test_a_load_wakes_a_deployment_that_is_scaled_to_zero(platform: Platform) -> None:
    name = platform.deploy("d", base(platform), replicas=0, enable_addons=True)
    platform.ready(name)
    platform.deployed(platform.load(platform.scripted_model(AD, BASE, voice="ad"), name))
    assert platform.chat(f"{AD}#{name}", "tokens:1").json()["choices"][0]["message"]["content"] == "ad"


def test_an_unloaded_model_can_be_loaded_again(platform: Platform) -> None:
    name = platform.deploy("d", base(platform), enable_addons=True)
    model = platform.scripted_model(AD, BASE)
    for number in range(3):
        row = platform.load(model, name, f"load-{number}")
        platform.deployed(row)
        platform.set(row, state="UNDEPLOYING")
        until_unloaded(platform, row)
    assert platform.chat(f"{AD}#{name}").status_code == 404


def test_replicas_come_and_go_with_what_is_wanted(platform: Platform) -> None:
    name = platform.deploy("d", base(platform), max_replica_count=3)
    platform.ready(name)
    for wanted in (3, 1, 0, 2):
        platform.set(name, desired_replicas=wanted)
        until_ready(platform, name, wanted)
    wait(lambda: platform.deployment(name).state == "READY")


def test_the_stages_of_replicas_are_counted(platform: Platform) -> None:
    name = platform.deploy("d", base(platform, start_seconds=600), replicas=2)
    wait(lambda: len(platform.pids(name)) == 2)
    stats = platform.supervisor.replica_stats(name, 3)
    assert stats.model_dump(exclude_none=True) == {
        "pending_scheduling_replica_count": 1,
        "downloading_model_replica_count": 0,
        "initializing_replica_count": 2,
        "ready_replica_count": 0,
    }


@pytest.mark.parametrize("start_seconds", [0, 600])
def test_a_deleted_deployment_ends_its_processes_whatever_they_do(platform: Platform, start_seconds: float) -> None:
    name = platform.deploy("d", base(platform, start_seconds=start_seconds))
    (pid,) = wait(lambda: platform.pids(name))
    platform.set(name, state="DELETING")
    wait(lambda: platform.deployment(name).state == "DELETED")
    assert not psutil.pid_exists(pid)
    assert platform.loaded(f"{ME}/deployedModels/own-d") is None


def test_a_deployment_deleted_for_good_leaves_no_row(platform: Platform) -> None:
    name = platform.deploy("d", base(platform))
    platform.ready(name)
    platform.set(name, state="DELETING", purge_time=platform.now())

    def gone() -> bool:
        with platform.store.read() as tx:
            return tx.deployments.get(name) is None

    wait(gone)


def test_when_the_default_fails_to_load_the_next_place_takes_over(platform: Platform) -> None:
    first = platform.deploy("first", base(platform))
    second = platform.deploy("second", BASE)
    platform.ready(second)
    platform.set(first, state="DELETING")
    wait(lambda: platform.deployment(first).state == "DELETED")
    assert platform.chat(BASE).headers["x-firectl-deployment"] == second


def test_the_engines_key_is_in_no_argument_and_the_platforms_secrets_are_in_no_engine(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret")
    name = platform.deploy("d", base(platform))
    (pid,) = wait(lambda: platform.pids(name))
    engine = psutil.Process(pid)
    environment = wait(engine.environ)
    assert "FIREWORKS_API_KEY" not in environment
    assert len(environment["VLLM_API_KEY"]) >= 32
    assert environment["VLLM_API_KEY"] not in " ".join(engine.cmdline())


def test_what_an_engine_logs_in_good_days_is_not_taken_for_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "d-0.log"
    log.write_text("killed by hand\n2026-01-01T00:00:00.000Z INFO loaded accounts/a/models/m\n")
    assert read_log_end(log, 0) == (None, "killed by hand")


def test_an_engines_words_are_kept_in_a_log_of_its_own_that_others_cannot_read(platform: Platform) -> None:
    name = platform.deploy("d", base(platform, unloadable="no weights"))
    wait(lambda: platform.deployment(name).state == "FAILED")
    log = platform.home / "logs" / "d-0.log"
    assert log.read_text().count("no weights") == 2
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
