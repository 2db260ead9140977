"""What is written can be read back as it was: durations and maps of load targets."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.cli.grammar.durations import LONGEST, format_duration, parse_duration
from firectl.cli.grammar.types import NumberMap, WireDuration
from firectl.schemas.base import format_wire_duration, parse_wire_duration

MICROS = st.integers(0, int(LONGEST) * 1_000_000)
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


@given(MICROS)
def test_a_duration_is_read_as_it_was_written(micros: int) -> None:
    written = format_duration(micros / 1e6)
    assert parse_duration(written) == pytest.approx(micros / 1e6, abs=1e-6)
    assert format_duration(parse_duration(written)) == written


@given(MICROS)
def test_a_duration_of_the_wire_is_read_as_it_was_written(micros: int) -> None:
    written = WireDuration().convert(format_duration(micros / 1e6), None, None)
    read = parse_wire_duration(written)
    assert read == timedelta(microseconds=micros)
    assert isinstance(read, timedelta)
    assert format_wire_duration(read) == written


@given(st.dictionaries(KEYS, st.floats(0, 1e9), min_size=1, max_size=5))
def test_a_map_of_load_targets_is_read_as_it_was_written(targets: dict[str, float]) -> None:
    written = ",".join(f"{key}={number}" for key, number in targets.items())
    assert NumberMap().convert(written, None, None) == targets
