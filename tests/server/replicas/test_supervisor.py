"""The replicas that run are those that the rows ask for, and `server/replicas/supervisor.py` counts them."""

from __future__ import annotations

from tests.server.replicas.platform import CATALOG, ME, Platform, wait

BASE = f"{CATALOG}/models/base"
AD = f"{ME}/models/ad"


def base(platform: Platform, **script: object) -> str:
    return platform.scripted_model(BASE, **script)


def until_ready(platform: Platform, name: str, count: int) -> None:
    """That many replicas are ready, and no other one has a process."""
    wait(lambda: platform.supervisor.replica_stats(name).ready_replica_count == count)
    wait(lambda: len(platform.pids(name)) == count)


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
