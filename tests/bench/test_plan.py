"""The plan of a run is a function of its seed: arrivals, routes, lengths and texts, without a clock."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random
from statistics import mean, stdev

import pytest

from firectl.bench import BenchTarget, Endpoint, Lengths, Load, Mix, Tokenizing, fixed, parse_lengths, parse_mix
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


@pytest.mark.parametrize(
    ("text", "least", "most", "average"),
    [
        ("64", 64, 64, 64),
        ("uniform:50-150", 50, 150, 100),
        ("normal:200,40", 40, 360, 200),
        ("normal:10,50", 1, 210, None),
        ("exponential:100", 1, 1000, 100),
    ],
)
def test_lengths_are_drawn_from_their_distribution(text: str, least: int, most: int, average: int | None) -> None:
    lengths = parse_lengths(text)
    assert (str(lengths), lengths.least, lengths.most) == (text, least, most)
    random = Random(3)
    drawn = [lengths.draw(random) for _ in range(10_000)]
    assert least <= min(drawn) <= max(drawn) <= most
    if average is not None:
        assert mean(drawn) == pytest.approx(average, rel=0.03)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.5", "uniform:9-3", "uniform:0-3", "normal:5", "zipf:1", "99999999999", "exponential:0"]
)
def test_what_is_no_length_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected (a length such as 200, uniform:50-150|a .* number of at least|at most)"):
        parse_lengths(text)


def test_mixes_are_read_as_they_are_written() -> None:
    assert [str(parse_mix(text)) for text in ("round-robin", "uniform", "zipf", "zipf:1.2")] == [
        "round-robin",
        "uniform",
        "zipf",
        "zipf:1.2",
    ]
    for text in ("each", "zipf:", "zipf:x", "zipf:99", "Zipf"):
        with pytest.raises(ValueError, match=r"zipf"):
            parse_mix(text)


def test_a_text_has_exactly_the_characters_that_were_asked_for() -> None:
    random = Random(1)
    texts = [some_text(length, random) for length in (1, 2, 7, 200, 5000)]
    assert [len(text) for text in texts] == [1, 2, 7, 200, 5000]
    assert some_text(200, random) != some_text(200, random)


def test_a_prompt_in_tokens_is_as_long_as_the_tokenizer_needs() -> None:
    load = Load(requests=1, prompt=fixed(100), prompt_in_tokens=True)
    target = BenchTarget("t", ("a",), HERE, tokenizing=Tokenizing(characters_per_token=3.0, overhead=20.0))
    assert len(next(plan_requests(load, target, (0, 0, 0))).prompt) == 240


def test_given_texts_are_each_sent_once_before_any_is_sent_again() -> None:
    load = Load(requests=1, prompts=("x", "y", "z"), seed=5)
    sent = [request.prompt for request in islice(plan_requests(load, TARGET, (0, 0, 0)), 9)]
    assert [sorted(sent[start : start + 3]) for start in (0, 3, 6)] == [["x", "y", "z"]] * 3


def test_a_plan_has_an_end() -> None:
    with pytest.raises(ValueError, match="end"):
        Load()


def test_rounds_share_the_requests_and_each_has_one_for_every_stream() -> None:
    load = Load(concurrency=(1, 8, 32), requests=40)
    assert [[share[0] for share in load.shares(level, 2)] for level in load.levels] == [
        [14, 13, 13],
        [14, 13, 13],
        [40],
    ]
    assert [share[0] for share in load.shares(load.levels[0], 1)] == [40]


def test_lengths_compare_by_value() -> None:
    assert parse_lengths("64") == fixed(64) == Lengths("fixed", 64)
