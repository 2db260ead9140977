"""Types of flag values: what each reads, and what it refuses with which words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.cli.grammar.durations import LONGEST, format_duration
from firectl.cli.grammar.types import (
    Boolean,
    Count,
    Known,
    Moment,
    NumberMap,
    PlainId,
    Region,
    Seconds,
    ShortText,
    WireDuration,
)
from firectl.errors import InputError
from firectl.schemas.base import format_wire_duration, parse_wire_duration
from firectl.schemas.words import ACCELERATORS, PRECISIONS
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

MICROS = st.integers(0, int(LONGEST) * 1_000_000)
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


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


@pytest.mark.parametrize(
    "text", ["", "default", "=1", "default=", "default=x", "default=nan", "default=-1", "a=1,,b=2"]
)
def test_other_text_is_not_a_map_of_numbers(text: str) -> None:
    with pytest.raises(click.BadParameter):
        NumberMap().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "placement"),
    [
        ("global", {"multi_region": "GLOBAL"}),
        ("US", {"multi_region": "US"}),
        ("us-iowa-1", {"region": "US_IOWA_1"}),
        ("EU_ICELAND_DEV_1", {"region": "EU_ICELAND_DEV_1"}),
    ],
)
def test_regions_are_read_in_any_case(text: str, placement: dict[str, str]) -> None:
    assert Region().convert(text, None, None) == placement


def test_enums_are_read_in_any_case_and_an_unknown_one_is_sent_with_a_warning(cli: Cli, api: Api) -> None:
    assert Known(PRECISIONS).convert("bf16", None, None) == "BF16"
    argv = ["deployment", "create", "m", "--deployment-id", "d", "--accelerator-type", "nvidia-h100-80g", "--dry-run"]
    ran = cli(*argv)
    assert ran.json["body"]["acceleratorType"] == "NVIDIA_H100_80G"
    assert ran.err == (
        "Warning: NVIDIA_H100_80G is not a value that this version knows, and is sent as it is; "
        "did you mean NVIDIA_H100_80GB?\nNothing was sent.\n"
    )
    ran = cli("deployment", "create", "m", "--accelerator-type", "a100", "--dry-run")
    assert ran.err.endswith("did you mean NVIDIA_A100_40GB or NVIDIA_A100_80GB?\nNothing was sent.\n")
    assert "NVIDIA_B300_288GB" in ACCELERATORS


def test_windows_have_their_limits() -> None:
    with pytest.raises(click.BadParameter, match="too short: at least 5 minutes"):
        WireDuration(300).convert("4m59s", None, None)
    with pytest.raises(click.BadParameter, match="too long: at most 60 minutes"):
        WireDuration(0, 3600).convert("61m", None, None)


@pytest.mark.parametrize(
    ("type", "text", "message"),
    [
        (Seconds(), "0s", "'0s' is not longer than zero"),
        (Seconds(), "soon", "'soon' is not a duration such as 30s, 10m or 1h30m"),
        (Boolean(), "maybe", "'maybe' is neither true nor false"),
        (Count(1), "0", "'0' is below 1"),
        (Count(), "1.5", "'1.5' is not a whole number"),
        (Count(), "\u0663", "is not a whole number"),
        (Known(PRECISIONS), "f p", "'f p' is not one of"),
        (Region(), "moon", "'moon' is not global, us, europe, apac or a region such as us-iowa-1"),
        (NumberMap(), "a=-1", "'-1' is not a number of at least 0, in 'a=-1'"),
        (ShortText(3), "abc", "3 characters, and fewer than 3 are allowed"),
        (Moment(), "01/31/2027", "'01/31/2027' is not a date such as 2027-01-31 or 2027-01-31T12:00:00Z"),
    ],
)
def test_a_refusal_says_what_was_expected(type: Any, text: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        type.convert(text, None, None)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2027-01-31", "2027-01-31T00:00:00Z", "2027-02-01T00:00:00Z"),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
        ("2027-01-31t12:00:00+02:00", "2027-01-31T10:00:00Z", "2027-01-31T10:00:00Z"),
    ],
)
def test_a_date_is_the_start_of_its_day_or_the_end(text: str, start: str, end: str) -> None:
    assert Moment().convert(text, None, None) == start
    assert Moment(ends=True).convert(text, None, None) == end


def test_booleans_are_gos_in_any_case() -> None:
    read = {word: Boolean().convert(word, None, None) for word in ("true", "T", "1", "False", "f", "0")}
    assert [word for word, value in read.items() if value] == ["true", "T", "1"]


def test_a_new_id_is_checked_by_the_rules_of_names() -> None:
    assert PlainId("model").convert("my-lora", None, None) == "my-lora"
    with pytest.raises(InputError, match="model"):
        PlainId("model").convert("My LoRA", None, None)
