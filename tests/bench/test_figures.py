"""Percentiles, spreads and late requests, compared with numpy's arithmetic (`bench/figures.py`)."""

from __future__ import annotations

import random

import numpy
import pytest

from firectl.bench.figures import figures_of, spread
from firectl.bench.generator import LoadRound
from firectl.bench.samples import Sample


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101, 1000])
def test_percentiles_are_numpys(count: int) -> None:
    numbers = [random.Random(count).expovariate(1) for _ in range(count)]
    found = spread(numbers)
    assert found is not None
    expected = numpy.percentile(numbers, (50, 90, 95, 99, 100)).tolist()
    assert [found.p50, found.p90, found.p95, found.p99, found.max] == pytest.approx(expected)


def test_a_spread_is_of_all_numbers() -> None:
    found = spread([3.0, 1.0, 2.0])
    assert found is not None
    assert (found.count, found.mean, found.p50, found.max) == (3, 2.0, 2.0, 3.0)
    assert spread([]) is None


@pytest.mark.parametrize(
    ("lag", "latency", "late"),
    [(0.04, 0.01, False), (0.06, 0.01, True), (0.06, 1.0, False), (0.09, 1.0, False), (0.11, 1.0, True)],
)
def test_requests_were_sent_late_where_the_lag_is_long_in_itself_and_beside_the_answers(
    lag: float, latency: float, late: bool
) -> None:
    # Two of fifty: the 99th percentile is theirs.
    lags = [0.0] * 48 + [lag] * 2
    samples = [Sample("r", due=at, sent=at + each, done=at + each + latency) for at, each in enumerate(lags)]
    assert figures_of([LoadRound(0.0, 60.0, samples)], has_rate=True).sent_late is late
    assert not figures_of([LoadRound(0.0, 60.0, samples)]).sent_late
