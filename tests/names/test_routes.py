"""What holds of a route, or of what is none, whatever the string is."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given

from firectl.errors import InputError
from firectl.names import (
    canonical_route,
    check_route,
    parse_route,
)
from tests.names.strategies import accounts, full_names, ids, routes, strings


@given(strings, accounts)
def test_a_report_is_whole_whatever_the_string_is(text: str, account: str | None) -> None:
    report = check_route(text, account)
    assert report.valid == (not report.errors)
    assert report.valid == (report.canonical is not None)
    assert len(report.errors) <= 20
    assert len(report.warnings) <= report.valid
    positions = [problem.position for problem in report.errors]
    assert positions == sorted(set(positions))
    assert all(0 <= position <= len(text) for position in positions)
    for problem in (*report.errors, *report.warnings):
        assert problem.message.isascii()
        assert problem.message.isprintable()
    assert json.loads(json.dumps(report.to_document()))["input"] == text


@given(strings, accounts)
def test_the_canonical_form_means_itself_without_an_account(text: str, account: str | None) -> None:
    report = check_route(text, account)
    if report.canonical is not None:
        again = check_route(report.canonical)
        assert (again.route, again.warnings) == (report.route, ())


@given(routes, ids)
def test_a_well_formed_string_is_refused_only_for_its_sides(text: str, account: str) -> None:
    report = check_route(text, account)
    if not report.valid:
        assert re.search("swapped|expected the collection", report.errors[0].message)


@given(full_names, full_names)
def test_two_full_names_make_a_route_exactly_as_a_model_and_a_deployment(left: str, right: str) -> None:
    report = check_route(canonical_route(left, right))
    assert report.valid == (left.split("/")[2] == "models" and right.split("/")[2] == "deployments")


@given(strings, accounts)
def test_parsing_raises_exactly_what_checking_reports(text: str, account: str | None) -> None:
    report = check_route(text, account)
    if report.route is not None:
        assert parse_route(text, account) == report.route
    else:
        with pytest.raises(InputError) as raised:
            parse_route(text, account)
        assert raised.value.message.isascii()


@pytest.mark.parametrize("text", ["x" * 1_000_000, "#" * 1_000_000, "%23" * 600, " /" * 900, "\u200b" * 1999])
def test_a_hostile_string_is_refused_in_no_time(text: str) -> None:
    begin = time.process_time()
    report = check_route(text, "acme")
    assert time.process_time() - begin < 1
    assert not report.valid
    assert len(report.errors) <= 20
