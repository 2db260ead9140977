"""Deployment metrics: what may be asked for, and the table of the series."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from firectl.cli.deployment import metrics
from firectl.errors import InputError
from firectl.schemas.words import METRICS


@pytest.mark.parametrize("typed", ["token_per_second", "Tokens-Per-Second"])
def test_an_unknown_metric_names_a_similar_one(typed: str) -> None:
    with pytest.raises(InputError, match="is not one of requests-per-second, ") as caught:
        metrics.require_known(typed)
    assert caught.value.hint == "did you mean tokens-per-second?"
    for known in METRICS:
        metrics.require_known(known)


def test_a_span_is_open_or_ends_after_its_start() -> None:
    assert metrics.span(None, None) == (None, None)
    assert metrics.span("2027-01-31T00:00:00Z", None) == (datetime(2027, 1, 31, tzinfo=UTC), None)
    for end in ("2027-01-31T00:00:00Z", "2027-01-30T00:00:00Z"):
        with pytest.raises(InputError, match="--end must be after --start"):
            metrics.span("2027-01-31T00:00:00Z", end)


def test_each_point_of_each_series_is_a_row() -> None:
    series = [
        {"labels": {"deployment": "d"}, "values": [{"timestamp": 1_800_000_000, "value": 1.5}, {"value": 2.0}]},
        {"labels": None, "values": None},
    ]
    assert metrics.TABLE.text is not None
    assert list(metrics.TABLE.text({"series": series})) == [
        "SERIES  TIME                  VALUE",
        "d       2027-01-15T08:00:00Z  1.5",
        "d       -                     2.0",
    ]
