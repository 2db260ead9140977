"""Waiting: what ends it, what it tolerates, what it reports (`client/wait.py`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firectl.client.wait import poll_delay, retry_while, wait_for
from firectl.errors import ApiError, Code, NetworkError, WaitTimeout
from tests.client.clock import Clock

AWAY = NetworkError(Code.UNAVAILABLE, "no answer")
BUSY = ApiError(Code.RESOURCE_EXHAUSTED, "too many requests")
DENIED = ApiError(Code.PERMISSION_DENIED, "not yours")


def in_turn(*results: int | ApiError) -> Callable[..., int]:
    """Gives or raises each result, the last one again and again."""
    left = [*results]

    def give(_: float = 0.0) -> int:
        result = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(result, ApiError):
            raise result
        return result

    return give


def wait(clock: Clock, *results: int | ApiError, changes: list[int] | None = None) -> int:
    """Waits 60 seconds for 3."""
    return wait_for(
        in_turn(*results),
        lambda value: value == 3,
        what="it is not 3",
        timeout=60,
        seen=lambda value: value,
        describe=lambda value: f"it is {value}",
        on_change=None if changes is None else changes.append,
        clock=clock,
        sleep=clock.sleep,
        hint="firectl look",
    )


def test_the_value_that_is_done_is_returned_and_each_change_reported(clock: Clock) -> None:
    changes: list[int] = []
    assert wait(clock, 1, 1, AWAY, 1, BUSY, 2, 3, changes=changes) == 3
    assert changes == [1, 2, 3]


def test_a_permanent_error_ends_the_wait_at_once(clock: Clock) -> None:
    with pytest.raises(ApiError, match="not yours"):
        wait(clock, AWAY, DENIED, 3)
    assert clock.now < 101


@pytest.mark.parametrize(
    ("results", "last"),
    [((1, 2), "it is 2"), ((AWAY,), "last error: no answer"), ((1, AWAY), "it is 1")],
)
def test_the_end_of_the_time_says_what_was_seen_last(clock: Clock, results: tuple[int | ApiError], last: str) -> None:
    with pytest.raises(WaitTimeout) as caught:
        wait(clock, *results)
    assert (caught.value.message, caught.value.hint) == (f"it is not 3 after 60 s: {last}", "firectl look")
    assert clock.now == pytest.approx(160)


def test_a_poll_gets_the_time_that_is_left_but_at_least_a_second(clock: Clock) -> None:
    asked: list[float] = []

    def poll(seconds: float) -> int:
        asked.append(seconds)
        return 1

    with pytest.raises(WaitTimeout):
        wait_for(poll, lambda _: False, what="", timeout=40, seen=id, describe=str, clock=clock, sleep=clock.sleep)
    assert asked[0] == 30
    assert min(asked) == 1
    assert asked == sorted(asked, reverse=True)


def test_polls_grow_apart_with_the_time_waited() -> None:
    assert [poll_delay(elapsed) for elapsed in (0, 1, 10, 30, 1000)] == [0.25, 0.25, 1.0, 3.0, 5.0]


def test_a_retry_ends_with_a_result_with_another_error_or_with_the_time(clock: Clock) -> None:
    waits: list[ApiError] = []

    def retry(*results: int | ApiError) -> int:
        return retry_while(
            lambda error: error is BUSY,
            in_turn(*results),
            20,
            on_wait=waits.append,
            clock=clock,
            sleep=clock.sleep,
            random=lambda: 0.0,
        )

    assert retry(BUSY, BUSY, 7) == 7
    assert (waits, clock.now) == ([BUSY, BUSY], 100.0 + 0.5 + 1)
    with pytest.raises(ApiError, match="not yours"):
        retry(BUSY, DENIED)
    started = clock.now
    with pytest.raises(ApiError, match="too many requests"):
        retry(BUSY)
    assert clock.now == pytest.approx(started + 20)
