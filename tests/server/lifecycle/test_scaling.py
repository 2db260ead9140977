"""How many replicas a deployment should have, by its traffic and by the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from firectl.schemas.deployment import AutoscalingPolicy, Deployment
from firectl.server.lifecycle.observed import Plan, StopReplica, ok
from firectl.server.lifecycle.plan import plan
from firectl.server.lifecycle.scaling import Observation, needed, suggest
from firectl.server.store.rows import DeploymentRow
from tests.server.lifecycle.rows import NOW, deployment, load, replica, seen, sources, trouble

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class TestIdle:
    ROW = replace(deployment(state="READY", status=ok()), woken_time=NOW)

    def at(
        self,
        later: timedelta,
        row: DeploymentRow = ROW,
        *,
        last_request: datetime | None = None,
        in_flight: int = 0,
    ) -> Plan:
        found = seen(replica(), last_request=last_request, in_flight=in_flight)
        return plan(row, [], sources(), found, NOW + later)

    def test_replicas_stop_after_the_window_and_the_state_stays_ready(self) -> None:
        waits, stops = self.at(HOUR - MINUTE), self.at(HOUR)
        assert (waits.desired, waits.wake_at) == (None, NOW + HOUR)
        assert (stops.desired, stops.state) == (0, "READY")
        then = plan(replace(self.ROW, desired_replicas=0), [], sources(), seen(replica()), NOW + HOUR)
        drains = ok("scaled to zero; 1 replica is finishing its answers")
        assert (then.state, then.status, then.steps) == ("READY", drains, (StopReplica(0, drain=True),))

    def test_the_window_is_the_policys_own(self) -> None:
        policy = AutoscalingPolicy(scale_to_zero_window=5 * MINUTE)
        row = replace(self.ROW, resource=Deployment(max_replica_count=1, autoscaling_policy=policy))
        assert self.at(5 * MINUTE - timedelta(seconds=1), row).desired is None
        assert self.at(5 * MINUTE, row).desired == 0

    def test_it_counts_from_the_last_request_whether_stored_or_just_seen(self) -> None:
        stored = replace(self.ROW, last_request_time=NOW + HOUR)
        assert self.at(2 * HOUR - MINUTE, stored).desired is None
        assert self.at(2 * HOUR, stored).desired == 0
        assert self.at(2 * HOUR, stored, last_request=NOW + 2 * HOUR - MINUTE).desired is None

    def test_a_restart_or_a_change_of_state_does_not_restart_it(self) -> None:
        assert self.at(HOUR, replace(self.ROW, update_time=NOW + HOUR, state="UPDATING")).desired == 0

    @pytest.mark.parametrize(
        "row",
        [
            replace(ROW, resource=Deployment(min_replica_count=1, max_replica_count=1)),
            replace(ROW, state="CREATING"),
            replace(ROW, woken_time=NOW + 9 * HOUR),
        ],
    )
    def test_a_minimum_a_start_or_a_fresh_wake_keeps_it(self, row: DeploymentRow) -> None:
        assert self.at(9 * HOUR, row).desired is None

    def test_a_long_answer_and_a_load_on_its_way_keep_it(self) -> None:
        assert self.at(9 * HOUR, in_flight=1).desired is None
        rows = [load(state="DEPLOYING")]
        assert plan(self.ROW, rows, sources(*rows), seen(replica()), NOW + 9 * HOUR).desired is None

    def test_a_failed_one_is_left_alone(self) -> None:
        broken = seen(trouble=trouble(2, 2, "cannot load"))
        assert plan(self.ROW, [], sources(), broken, NOW + 9 * HOUR).desired is None


def steady(seconds: int, *, in_flight: float = 0.0, requests: float = 0.0, tokens: float = 0.0) -> list[Observation]:
    """The same load for a while, once a second."""
    return [Observation(NOW + timedelta(seconds=n), in_flight, requests, tokens) for n in range(seconds + 1)]


def suggested(
    found: list[Observation], desired: int = 1, low: int = 0, high: int = 4, scale_up_window: timedelta | None = None
) -> int | None:
    return suggest(found, AutoscalingPolicy(scale_up_window=scale_up_window), desired, low, high, slots=10)


class TestLoad:
    @pytest.mark.parametrize(
        ("in_flight", "requests", "tokens", "targets", "count"),
        [
            (8.0, 0, 0, {"default": 0.8}, 1),
            (8.1, 0, 0, {"default": 0.8}, 2),
            (0.0, 7, 0, {"requests_per_second": 2}, 4),
            (0.0, 0, 250, {"tokens_generated_per_second": 100}, 3),
            (20.0, 1, 0, {"default": 1, "requests_per_second": 2}, 2),
            (99.0, 9, 9, {"unknown_target": 1}, 0),
        ],
    )
    def test_a_load_needs_as_many_as_keep_it_under_every_target(
        self, in_flight: float, requests: float, tokens: float, targets: dict[str, float], count: int
    ) -> None:
        assert needed(Observation(NOW, in_flight, requests, tokens), targets, slots=10) == count

    def test_it_goes_up_once_the_load_lasted_the_window(self) -> None:
        assert suggested(steady(29, in_flight=20)) is None
        assert suggested(steady(30, in_flight=20)) == 3
        assert suggested(steady(9, in_flight=20), scale_up_window=timedelta(seconds=10)) is None

    def test_a_dip_in_the_window_holds_it_back(self) -> None:
        dip = steady(30, in_flight=20)
        dip[15] = replace(dip[15], in_flight=0)
        assert suggested(dip) is None

    def test_it_goes_down_only_after_the_longer_window_and_by_the_highest_load_in_it(self) -> None:
        assert suggested(steady(599), desired=4) is None
        assert suggested(steady(600, in_flight=10), desired=4) == 2
        peak = steady(600, in_flight=1)
        peak[300] = replace(peak[300], in_flight=20)
        assert suggested(peak, desired=4) == 3

    def test_it_stays_within_its_bounds_and_never_goes_to_zero(self) -> None:
        assert suggested(steady(30, in_flight=500)) == 4
        assert suggested(steady(600), desired=4, low=2) == 2
        assert suggested(steady(600), desired=4) == 1
        assert suggested(steady(600), desired=0) is None

    def test_a_number_set_by_hand_outside_the_bounds_moves_into_them_after_the_window(self) -> None:
        assert suggested(steady(30), desired=1, low=2) == 2

    def test_the_plan_takes_it_over_and_keeps_those_that_serve(self) -> None:
        row = deployment(state="READY", desired_replicas=1)
        found = plan(row, [], sources(), seen(replica(), suggested=3), NOW)
        assert (found.desired, found.state, found.ready, found.steps) == (3, "READY", frozenset({0}), ())
