"""What the traffic of the last seconds asks for: observations of real counts, under a clock of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from firectl.schemas.deployment import AutoscalingPolicy, Deployment
from firectl.server.replicas.traffic_watch import TrafficWatch
from firectl.server.store import Store
from firectl.server.usage.traffic import Traffic
from tests.server.lifecycle.rows import BASE, NAME, NOW, deployment

POLICY = AutoscalingPolicy(
    scale_up_window=timedelta(seconds=2),
    scale_down_window=timedelta(seconds=5),
    load_targets={"requests_per_second": 1.0},
)
ROW = deployment(state="READY", resource=Deployment(max_replica_count=4, autoscaling_policy=POLICY))


class Clock:
    now = NOW


def watched(tmp_path: Path, story: Callable[[TrafficWatch, Callable[[int], None]], None]) -> None:
    """The story gets a watch, and what lets a second pass with that many requests."""

    async def run() -> None:
        store = Store(f"sqlite:///{tmp_path / 'platform.sqlite'}")
        traffic = Traffic(store, lambda: Clock.now)

        def second(requests: int) -> None:
            Clock.now += timedelta(seconds=1)
            for _ in range(requests):
                traffic.admit(NAME, BASE).end(200)

        story(TrafficWatch(traffic, 10, lambda: Clock.now), second)
        await traffic.flush()
        store.close()

    asyncio.run(run())


def test_traffic_that_lasts_the_window_asks_for_more_and_its_end_for_fewer(tmp_path: Path) -> None:
    def story(watch: TrafficWatch, second: Callable[[int], None]) -> None:
        found = [watch.suggestion(ROW)]
        for _ in range(3):
            second(3)
            found.append(watch.suggestion(ROW))
        assert found == [None, None, None, 3]
        two = deployment(state="READY", desired_replicas=3, resource=ROW.resource)
        found = [watch.suggestion(two)]
        for _ in range(6):
            second(0)
            found.append(watch.suggestion(two))
        assert found == [None] * 6 + [1]

    watched(tmp_path, story)


def test_a_deployment_that_cannot_grow_or_runs_nothing_is_not_watched(tmp_path: Path) -> None:
    def story(watch: TrafficWatch, second: Callable[[int], None]) -> None:
        watch.suggestion(ROW)
        assert watch.watches()
        watch.forget({NAME})
        assert watch.watches()
        for row in (deployment(desired_replicas=0), deployment(resource=Deployment(max_replica_count=1))):
            assert watch.suggestion(row) is None
            assert not watch.watches()
        watch.suggestion(ROW)
        watch.forget(set())
        assert not watch.watches()

    watched(tmp_path, story)
