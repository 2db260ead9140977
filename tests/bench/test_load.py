"""The load of a run: mixes, sizes of prompts, rounds and their shares (`bench/load.py`)."""

from __future__ import annotations

import pytest

from firectl.bench import BenchTarget, Endpoint, Load, Tokenizing, fixed, parse_mix
from firectl.bench.plan import plan_requests

HERE = Endpoint("http://127.0.0.1:1/v1")


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


def test_a_prompt_in_tokens_is_as_long_as_the_tokenizer_needs() -> None:
    load = Load(requests=1, prompt=fixed(100), prompt_in_tokens=True)
    target = BenchTarget("t", ("a",), HERE, tokenizing=Tokenizing(characters_per_token=3.0, overhead=20.0))
    assert len(next(plan_requests(load, target, (0, 0, 0))).prompt) == 240


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
