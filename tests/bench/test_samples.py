"""What is measured of one request: the waits between its tokens (`bench/samples.py`)."""

from __future__ import annotations

import statistics
from array import array
from pathlib import Path

import pytest

from firectl.bench.samples import ERRORS, Sample


def sample(arrivals: list[float], tokens: int | None) -> Sample:
    return Sample("r", 0.0, sent=0.0, done=9.0, arrivals=array("d", arrivals), generated_tokens=tokens)


def test_a_piece_for_each_token_makes_each_pause_a_latency() -> None:
    assert sample([1.0, 1.5, 3.5], 3).inter_token_latencies() == [0.5, 2.0]


def test_pieces_of_several_tokens_share_their_pauses_among_them() -> None:
    found = sample([1.0, 2.0, 4.0], 9).inter_token_latencies()
    assert found == [0.25, 0.5]
    assert statistics.mean(found) == pytest.approx((4.0 - 1.0) / (9 - 1))


def test_pieces_that_come_together_share_the_wait_for_them() -> None:
    found = sample([1.0, 2.0, 2.0001, 2.0002, 4.0], 5).inter_token_latencies()
    assert found == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2.0], abs=1e-3)
    assert sum(found) == pytest.approx(3.0)
    # Those at the beginning had no wait of their own to be seen.
    found = sample([1.0, 1.0, 1.0001, 2.5], 7).inter_token_latencies()
    assert found == pytest.approx([0.25, 0.25, 0.25])
    assert sample([1.0, 1.0, 1.0], 3).inter_token_latencies() == [0.0, 0.0]


def test_pauses_are_taken_as_they_are_where_tokens_are_unknown_or_fewer() -> None:
    assert sample([1.0, 2.0, 4.0], None).inter_token_latencies() == [1.0, 2.0]
    assert sample([1.0, 2.0, 4.0], 2).inter_token_latencies() == [1.0, 2.0]
    assert sample([1.0], 5).inter_token_latencies() == []


def test_the_page_has_every_kind_of_error() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
    assert [f"| `{kind}` | {meaning} |" in page for kind, meaning in ERRORS.items()] == [True] * len(ERRORS)
