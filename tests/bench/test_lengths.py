"""Lengths of prompts and answers: parsed and drawn (`bench/lengths.py`)."""

from __future__ import annotations

from random import Random
from statistics import mean

import pytest

from firectl.bench import Lengths, fixed, parse_lengths


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
    with pytest.raises(ValueError, match=r"expected (a length such as 200, |a .* number of at least|at most)"):
        parse_lengths(text)


def test_lengths_compare_by_value() -> None:
    assert parse_lengths("64") == fixed(64) == Lengths("fixed", 64)
