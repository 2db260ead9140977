"""The few rules in what a plan is made from: how long to wait, and when a fault is final."""

from __future__ import annotations

import pytest

from firectl.server.lifecycle.observed import FAULT_TRIES, backoff
from tests.server.lifecycle.rows import fault


def test_the_wait_grows_with_each_failure_up_to_its_cap() -> None:
    assert [backoff(n).total_seconds() for n in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("count", "refused", "final"),
    [(1, False, False), (FAULT_TRIES - 1, False, False), (FAULT_TRIES, False, True), (1, True, True)],
)
def test_a_fault_is_final_after_its_tries_or_a_refusal(count: int, refused: bool, final: bool) -> None:
    assert fault(count=count, refused=refused).final is final
