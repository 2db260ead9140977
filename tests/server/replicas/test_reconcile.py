"""`server/replicas/reconcile.py`: rows are carried out and written: wakes, loads, deletes, purges."""

from __future__ import annotations

import psutil
import pytest

from tests.server.replicas.platform import CATALOG, ME, Platform, wait

BASE = f"{CATALOG}/models/base"
AD = f"{ME}/models/ad"


def base(platform: Platform, **script: object) -> str:
    return platform.scripted_model(BASE, **script)


def until_unloaded(platform: Platform, row: str) -> None:
    wait(lambda: platform.loaded(row) is None)


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


@pytest.mark.parametrize("start_seconds", [0, 600])
def test_a_deleted_deployment_ends_its_processes_in_any_state(platform: Platform, start_seconds: float) -> None:
    name = platform.deploy("d", base(platform, start_seconds=start_seconds))
    (pid,) = wait(lambda: platform.pids(name))
    platform.set(name, state="DELETING")
    wait(lambda: platform.deployment(name).state == "DELETED")
    assert not psutil.pid_exists(pid)
    assert platform.loaded(f"{ME}/deployedModels/own-d") is None


def test_a_purged_deployment_leaves_no_row(platform: Platform) -> None:
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
