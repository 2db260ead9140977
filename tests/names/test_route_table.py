"""docs/routing.md is the parser's test data: every row of its two tables is checked against `check_route`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from firectl.errors import InputError
from firectl.names import check_route, parse_route

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")


def rows_of(marker: str) -> list[list[str]]:
    """The cells of a table of the page, without the backticks around them."""
    table = PAGE.split(f"<!-- {marker} -->")[1].split("<!-- end -->")[0].strip().splitlines()
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table[2:]]
    assert {len(row) for row in rows} == {5}
    return rows


ACCEPTED = rows_of("accepted")
REFUSED = rows_of("refused")


def test_the_page_has_a_row_for_every_form_and_mistake() -> None:
    assert len(ACCEPTED) >= 18
    assert len(REFUSED) >= 80


@pytest.mark.parametrize(("string", "account", "kind", "canonical", "warning_at"), ACCEPTED)
def test_an_accepted_string_is_valid_and_means_what_the_page_says(
    string: str, account: str, kind: str, canonical: str, warning_at: str
) -> None:
    text = json.loads(string)
    report = check_route(text, account or None)
    model, _, deployment = canonical.partition("#") if kind == "model#deployment" else (canonical, "", canonical)
    assert report.to_document() == {
        "valid": True,
        "input": text,
        "kind": kind,
        "canonical": canonical,
        "model": None if kind == "deployment" else model,
        "deployment": None if kind == "model" else deployment,
        "errors": [],
        "warnings": [warning._asdict() for warning in report.warnings],
    }
    assert [str(warning.position) for warning in report.warnings] == ([warning_at] if warning_at else [])
    assert all(warning.suggestion == canonical for warning in report.warnings)
    assert parse_route(text, account or None).canonical == canonical


@pytest.mark.parametrize(("string", "account", "at", "says", "instead"), REFUSED)
def test_a_refused_string_is_explained_as_the_page_says(
    string: str, account: str, at: str, says: str, instead: str
) -> None:
    text = json.loads(string)
    report = check_route(text, account or None)
    document = report.to_document()
    assert {key: document[key] for key in ("valid", "input", "kind", "canonical", "model", "deployment")} == {
        "valid": False,
        "input": text,
        "kind": None,
        "canonical": None,
        "model": None,
        "deployment": None,
    }
    first = report.errors[0]
    assert str(first.position) == at
    assert says in first.message
    assert [problem.suggestion for problem in report.errors] == [instead or None] * len(report.errors)
    assert report.warnings == ()
    with pytest.raises(InputError) as raised:
        parse_route(text, account or None)
    assert f"{first.message} (character {at})" in raised.value.message
    assert raised.value.hint == (f"write {instead}" if instead else None)


@pytest.mark.parametrize(("string", "account", "at", "says", "instead"), [row for row in REFUSED if row[4]])
def test_a_suggestion_of_the_page_is_itself_canonical(
    string: str, account: str, at: str, says: str, instead: str
) -> None:
    assert check_route(instead).canonical == instead


def test_the_json_example_of_the_page_is_what_the_checker_answers() -> None:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    example = json.loads(found[1])
    assert check_route(example["input"]).to_document() == example
