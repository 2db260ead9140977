"""Go's durations: valid and invalid text, and round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.cli.grammar.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1h0m0s", 3600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("0", 0),
        ("+1m", 60),
    ],
)
def test_durations_are_read_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "-5m", "5 m", "1d", "m", "1h1", "1e3s", "٣s", "1m-", "99999999h", "+-1m"])
def test_other_text_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration such as 30s, 10m or 1h30m|ten years"):
        parse_duration(text)


@given(st.integers(0, int(LONGEST) * 1_000_000))
def test_a_duration_is_read_as_it_was_written(micros: int) -> None:
    written = format_duration(micros / 1e6)
    assert parse_duration(written) == pytest.approx(micros / 1e6, abs=1e-6)
    assert format_duration(parse_duration(written)) == written


def test_a_duration_is_written_as_short_as_go_reads_it() -> None:
    assert [format_duration(seconds) for seconds in (0, 1.5, 90, 5400, 3600)] == ["0s", "1.5s", "1m30s", "1h30m", "1h"]
