"""A token depends on the row, the request's parameters and its own random numbers, and on nothing else."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from firectl.engine.compute.sampler import pick
from firectl.engine.schedule.sequence import Sequence, random_for
from firectl.engine.text.stream import TextStream
from firectl.schemas.openai import Sampling

ROW = torch.tensor([1.0, 3.0, 2.0, -1.0, 0.0])


def sequence(choice: int = 0, /, **sampling: Any) -> Sequence:
    options = Sampling(**sampling)
    return Sequence([9], options, 100, TextStream(lambda _: "", []), None, random_for(options.seed, choice))


def draws(count: int = 400, choice: int = 0, **sampling: Any) -> list[int]:
    one = sequence(choice, **sampling)
    tokens = []
    for _ in range(count):
        picked = pick([one], ROW[None])[0]
        assert picked is not None
        tokens.append(picked.token)
    return tokens


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1e-300])
def test_temperature_zero_picks_the_likeliest(temperature: float) -> None:
    assert set(draws(20, temperature=temperature)) == {1}


def test_tokens_are_drawn_by_their_probability() -> None:
    seen = Counter(draws(8000, temperature=1.0, seed=1))
    for token, probability in enumerate(torch.softmax(ROW, -1).tolist()):
        # Five standard deviations.
        assert abs(seen[token] / 8000 - probability) < 5 * math.sqrt(probability * (1 - probability) / 8000)


def test_a_higher_temperature_flattens() -> None:
    assert Counter(draws(2000, temperature=2.0, seed=1))[1] < Counter(draws(2000, temperature=0.5, seed=1))[1]


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 2}, {1, 2}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.01}, {1}),
        ({"top_p": 0.7}, {1, 2}),
        ({"top_p": 0.6}, {1}),
        ({"top_k": 3, "top_p": 0.8}, {1, 2}),
    ],
)
def test_cuts_leave_the_likeliest(cut: dict[str, Any], expected: set[int]) -> None:
    assert set(draws(3000, temperature=1.0, seed=2, **cut)) == expected


def test_equal_seeds_give_equal_tokens_and_others_do_not() -> None:
    assert draws(seed=5) == draws(seed=5)
    assert draws(seed=5) != draws(seed=6)
    assert draws(seed=5) != draws(seed=5, choice=1)
    assert draws() != draws()


def test_neighbours_in_the_batch_change_nothing() -> None:
    alone = draws(50, seed=7)
    one, others = sequence(seed=7), [sequence(seed=8), sequence(temperature=0.0), sequence(top_p=0.5)]
    logits = torch.stack([ROW.flip(0), ROW, ROW * 2, -ROW])
    together = []
    for _ in range(50):
        picked = pick([others[0], one, *others[1:]], logits)[1]
        assert picked is not None
        together.append(picked.token)
    assert together == alone


@pytest.mark.parametrize(
    ("penalties", "expected"),
    [
        ({}, 1),
        ({"presence_penalty": 0.9}, 1),
        ({"presence_penalty": 1.1}, 2),
        ({"frequency_penalty": 0.4}, 2),
        ({"frequency_penalty": 0.2}, 1),
        ({"frequency_penalty": -1.0, "presence_penalty": -1.0}, 1),
    ],
)
def test_what_was_generated_is_penalised_by_presence_and_by_count(penalties: dict[str, float], expected: int) -> None:
    one = sequence(temperature=0.0, **penalties)
    for token in (1, 1, 1):
        one.append(token)
    picked = pick([one], ROW[None])[0]
    assert picked is not None
    assert picked.token == expected


def test_logprobs_are_those_of_the_model_before_penalties_and_temperature() -> None:
    one = sequence(temperature=0.0, presence_penalty=2.0, top_logprobs=3)
    one.append(1)
    picked = pick([one], ROW[None])[0]
    expected = torch.log_softmax(ROW, -1)
    assert picked is not None
    assert picked.token == 2
    assert picked.logprob == pytest.approx(float(expected[2]))
    assert [token for token, _ in picked.top] == [1, 2, 0]
    assert [value for _, value in picked.top] == pytest.approx(expected[[1, 2, 0]].tolist())


def test_no_logprobs_are_computed_unless_asked_for_and_none_asks_for_the_token_alone() -> None:
    plain, bare = pick([sequence(temperature=0.0), sequence(temperature=0.0, top_logprobs=0)], torch.stack([ROW, ROW]))
    assert plain is not None
    assert plain.logprob is None
    assert bare is not None
    assert bare.logprob is not None
    assert bare.top == ()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_without_a_finite_maximum_gives_no_token(bad: float) -> None:
    broken = ROW.clone()
    broken[3] = bad
    good, none = pick([sequence(temperature=0.0), sequence(seed=1)], torch.stack([ROW, broken]))
    assert good is not None
    assert none is None


def test_tokens_that_the_model_rules_out_are_never_drawn() -> None:
    row = torch.full((50,), float("-inf"))
    row[[3, 30]] = 0.0
    one = sequence(temperature=2.0, seed=3)
    seen = {picked.token for picked in (pick([one], row[None])[0] for _ in range(200)) if picked}
    assert seen == {3, 30}
