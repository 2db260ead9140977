"""The replicas of one deployment: which takes a request, which stage each is in, what is remembered of failures.

The replicas are real, without a process: the tests put them into the states that a process would.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from firectl.server.lifecycle.observed import ObservedAdapter, Phase
from firectl.server.replicas.replica import Death, Patience, Replica
from firectl.server.replicas.replica_set import ReplicaSet

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def replicas_of(*phases: Phase, answering: tuple[int, ...] = ()) -> ReplicaSet:
    found = ReplicaSet("accounts/me/deployments/d", lambda: None, lambda: NOW)
    for ordinal, phase in enumerate(phases):
        found.replicas[ordinal] = Replica(ordinal, "models/base", None, Patience(), found)
        found.replicas[ordinal].phase = phase
    found.set_answering(frozenset(answering))
    return found


def picked(replica: Replica | None) -> int | None:
    return None if replica is None else replica.ordinal


def test_the_replica_with_the_fewest_requests_is_picked() -> None:
    found = replicas_of(Phase.SERVING, Phase.SERVING, Phase.SERVING, answering=(0, 1, 2))
    found.replicas[0].in_flight, found.replicas[1].in_flight, found.replicas[2].in_flight = 2, 1, 1
    assert picked(found.pick(None)) == 1
    assert picked(found.pick(None, besides=[1])) == 2
    assert picked(found.pick(None, besides=[0, 1, 2])) is None


def test_only_a_serving_replica_of_the_plan_is_picked() -> None:
    found = replicas_of(Phase.STOPPING, Phase.STARTING, Phase.SERVING, answering=(0, 1))
    assert picked(found.pick(None)) is None
    found.set_answering(frozenset({2}))
    assert picked(found.pick(None)) == 2


def test_an_adapter_must_be_loaded_and_the_folder_must_be_the_right_one() -> None:
    found = replicas_of(Phase.SERVING, Phase.SERVING, answering=(0, 1))
    found.replicas[0].adapters["a"] = ObservedAdapter.LOADING
    found.replicas[1].adapters["a"] = ObservedAdapter.LOADED
    assert picked(found.pick("a")) == 1
    assert picked(found.pick("a", "models/base")) == 1
    assert picked(found.pick(None, "merged/other")) is None


def test_each_replica_is_counted_in_its_stage() -> None:
    found = replicas_of(Phase.STARTING, Phase.SERVING, Phase.STOPPING, Phase.SERVING, answering=(1, 3))
    found.set_answering(frozenset({1}))
    stats = found.stats(5)
    assert stats.pending_scheduling_replica_count == 2
    # Replica 3 took requests and takes no more: it is not starting again.
    assert (stats.initializing_replica_count, stats.ready_replica_count) == (1, 1)


def test_crashes_are_counted_until_a_replica_served_for_a_minute() -> None:
    found = replicas_of(Phase.STARTING)
    for unloadable in (True, True):
        found.died(found.replicas[0], Death("no weights", unloadable, None, ()))
    assert found.trouble is not None
    assert (found.trouble.count, found.trouble.unloadable, found.trouble.message) == (2, 2, "no weights")
    found.died(found.replicas[0], Death("killed", False, 59.0, ()))
    assert (found.trouble.count, found.trouble.unloadable) == (3, 0)
    assert found.trouble.retry_at == NOW + timedelta(seconds=2)
    found.died(found.replicas[0], Death("killed", False, 60.0, ()))
    assert (found.trouble.count, found.trouble.retry_at) == (1, NOW)


@pytest.mark.parametrize(("desired", "folder", "kept"), [(1, None, True), (0, None, False), (1, "merged/new", False)])
def test_crashes_are_forgotten_with_other_weights_or_without_replicas(
    desired: int, folder: str | None, kept: bool
) -> None:
    found = replicas_of(Phase.STARTING)
    found.died(found.replicas[0], Death("killed", False, None, ()))
    found.settle(set(), desired, folder)
    assert (found.trouble is not None) is kept


def test_a_fault_is_forgotten_once_its_adapter_is_loaded_everywhere_or_not_wanted() -> None:
    async def story() -> None:
        found = replicas_of(Phase.SERVING)
        found.failed("a", "rank 65 is above 64", refused=True)
        found.failed("b", "timed out", refused=False)
        found.died(found.replicas[0], Death("killed", False, None, ("b",)))
        assert (found.faults["a"].refused, found.faults["b"].count) == (True, 2)
        assert found.faults["b"].message == "the engine died while loading the adapter: killed"
        found.settle({"a", "b"}, 1, None)
        assert set(found.faults) == {"a", "b"}
        found.replicas[0].adapters["b"] = ObservedAdapter.LOADED
        found.settle({"a", "b"}, 1, None)
        assert set(found.faults) == {"a"}
        found.settle(set(), 1, None)
        assert not found.faults

    asyncio.run(story())
