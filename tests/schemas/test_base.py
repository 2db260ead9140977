"""How every wire model reads and writes: cases, absent fields, times and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from firectl.errors import Code
from firectl.schemas.base import (
    Duration,
    Int64,
    Status,
    Time,
    Wire,
    format_time,
    format_wire_duration,
    parse_wire_duration,
)


class Thing(Wire):
    display_name: str | None = None
    replica_count: int | None = None
    bytes_stored: Int64 | None = None
    create_time: Time | None = None
    idle_window: Duration | None = None


def test_either_case_is_read_and_each_side_gets_its_own() -> None:
    camel, snake = {"displayName": "a", "replicaCount": 0}, {"display_name": "a", "replica_count": 0}
    for written in (camel, snake):
        thing = Thing.model_validate({**written, "unknown": 1})
        assert thing.to_wire() == camel
        assert thing.to_document() == snake


def test_an_int64_is_a_string_of_digits_on_the_wire() -> None:
    assert Thing.model_validate({"bytesStored": 2**53 + 1}).to_wire() == {"bytesStored": "9007199254740993"}
    with pytest.raises(ValidationError):
        Thing.model_validate({"bytesStored": True})


def test_a_time_is_utc_whatever_its_zone() -> None:
    moment = datetime(2026, 1, 31, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-01-31T12:00:00Z"
    assert format_time(moment.replace(microsecond=5)) == "2026-01-31T12:00:00.000005Z"
    assert Thing(create_time=moment).create_time == moment
    assert Thing.model_validate({"createTime": "2026-01-31T12:00:00"}).create_time == moment.astimezone(UTC)
    with pytest.raises(ValidationError, match="outside the years 1 to 9999"):
        Thing.model_validate({"createTime": "0001-01-01T00:00:00+01:00"})


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("600s", 600), ("0.5s", 0.5), ("1.000001s", 1.000001), ("1.123456789s", 1.123456)]
)
def test_a_duration_is_seconds_with_an_s(text: str, seconds: float) -> None:
    assert parse_wire_duration(text) == timedelta(seconds=seconds)
    assert Thing.model_validate({"idleWindow": text}).idle_window == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["600", "-1s", "1m", "1.s", "1.0123456789s", "", f"{10**15}s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration such as 600s|is too long for a duration"):
        parse_wire_duration(text)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=10_000)))
def test_a_duration_comes_back_as_it_went(duration: timedelta) -> None:
    text = format_wire_duration(duration)
    assert parse_wire_duration(text) == duration
    assert not text.endswith(("0s", ".s")) or "." not in text


def test_a_status_names_its_code() -> None:
    assert Status.of(None, "").to_wire() == {"code": "OK", "message": ""}
    assert Status.of(Code.NOT_FOUND, "gone").to_wire() == {"code": "NOT_FOUND", "message": "gone"}
