"""The plan of a run is a function of its seed: arrivals, routes, lengths and texts (`bench/plan.py`)."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random
from statistics import mean, stdev

import pytest

from firectl.bench import BenchTarget, Endpoint, Load, Mix, parse_lengths
from firectl.bench.plan import arrivals, pick_routes, plan_requests, some_text

HERE = Endpoint("http://127.0.0.1:1/v1")
ROUTES = ("a", "b", "c", "d")
LOAD = Load(
    rates=(5.0, 50.0),
    arrival="poisson",
    requests=100,
    prompt=parse_lengths("uniform:20-60"),
    max_tokens=parse_lengths("normal:64,16"),
    seed=7,
)
TARGET = BenchTarget("t", ROUTES, HERE, Mix("zipf"))


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    plan = list(islice(plan_requests(LOAD, TARGET, (0, 0, 0)), 50))
    assert plan == list(islice(plan_requests(LOAD, TARGET, (0, 0, 0)), 50))
    other = Load(rates=(5.0,), requests=100, seed=8)
    assert [request.prompt for request in plan] != [
        request.prompt for request in islice(plan_requests(other, TARGET, (0, 0, 0)), 50)
    ]


def test_rounds_and_levels_have_plans_of_their_own() -> None:
    texts = {
        tuple(request.prompt for request in islice(plan_requests(LOAD, TARGET, (0, level, round_)), 5))
        for level in (0, 1)
        for round_ in (-1, 0, 1)
    }
    assert len(texts) == 6


def test_targets_get_the_same_load_in_other_words() -> None:
    first, second = (list(islice(plan_requests(LOAD, TARGET, (target, 0, 0)), 50)) for target in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert (one.due, one.route, len(one.prompt), one.max_tokens) == (
            other.due,
            other.route,
            len(other.prompt),
            other.max_tokens,
        )
        assert one.prompt != other.prompt


def test_streams_are_never_told_to_wait() -> None:
    assert {request.due for request in islice(plan_requests(Load(requests=9), TARGET, (0, 0, 0)), 9)} == {0.0}


def test_a_constant_rate_is_evenly_spaced() -> None:
    assert list(islice(arrivals(4.0, "constant", Random(1)), 5)) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_poisson_rate_has_gaps_with_the_mean_and_the_spread_of_an_exponential() -> None:
    due = list(islice(arrivals(10.0, "poisson", Random(1)), 20_000))
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert min(gaps) > 0
    assert mean(gaps) == pytest.approx(0.1, rel=0.03)
    assert stdev(gaps) == pytest.approx(0.1, rel=0.05)
    assert sum(gap > 0.1 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.02)


def test_round_robin_takes_each_in_turn() -> None:
    assert list(islice(pick_routes(ROUTES, Mix(), Random(1)), 6)) == ["a", "b", "c", "d", "a", "b"]


def test_uniform_takes_each_as_often() -> None:
    taken = Counter(islice(pick_routes(ROUTES, Mix("uniform"), Random(1)), 20_000))
    assert all(taken[route] / 20_000 == pytest.approx(0.25, abs=0.02) for route in ROUTES)


@pytest.mark.parametrize("exponent", [1.0, 1.5])
def test_zipf_takes_the_first_most_and_the_kth_as_its_law_has_it(exponent: float) -> None:
    taken = Counter(islice(pick_routes(ROUTES, Mix("zipf", exponent), Random(1)), 20_000))
    total = sum(1 / rank**exponent for rank in range(1, 5))
    for rank, route in enumerate(ROUTES, 1):
        assert taken[route] / 20_000 == pytest.approx(1 / rank**exponent / total, abs=0.02)


def test_a_text_has_exactly_the_characters_that_were_asked_for() -> None:
    random = Random(1)
    texts = [some_text(length, random) for length in (1, 2, 7, 200, 5000)]
    assert [len(text) for text in texts] == [1, 2, 7, 200, 5000]
    assert some_text(200, random) != some_text(200, random)


def test_given_texts_are_each_sent_once_before_any_is_sent_again() -> None:
    load = Load(requests=1, prompts=("x", "y", "z"), seed=5)
    sent = [request.prompt for request in islice(plan_requests(load, TARGET, (0, 0, 0)), 9)]
    assert [sorted(sent[start : start + 3]) for start in (0, 3, 6)] == [["x", "y", "z"]] * 3
