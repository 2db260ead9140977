"""YAML: any document comes back, and text cannot be taken for anything else."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from firectl.cli.output.yaml import to_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_document_comes_back_from_its_yaml(document: Any) -> None:
    assert _same(yaml.safe_load(to_yaml(document)), document)


@pytest.mark.parametrize(
    "text", ["yes", "No", "null", "~", "1e5", "0x1f", "2024-01-02", "600s", "a: b", "#x", "-", "=", "<<", ""]
)
def test_a_string_that_looks_like_something_else_stays_a_string_in_yaml(text: str) -> None:
    assert yaml.safe_load(to_yaml({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("text", ["yes", "y", "N", "null", "1e5", "1.", "-3", ".5", "0o17", "0x1f", "1:30"])
def test_what_any_reader_may_take_for_a_number_or_a_boolean_is_quoted_in_yaml(text: str) -> None:
    assert to_yaml([text]) == f"- '{text}'\n"


def test_plain_strings_are_not_quoted_in_yaml_and_one_list_twice_is_written_twice() -> None:
    refs = [{"default": True}]
    assert to_yaml({"name": "accounts/a/models/né", "window": "600s", "refs": refs, "again": refs}) == (
        "name: accounts/a/models/né\nwindow: 600s\nrefs:\n  - default: true\nagain:\n  - default: true\n"
    )


def test_foreign_text_in_yaml_can_neither_forge_a_line_nor_turn_its_direction() -> None:
    document = {"a": "fine\nstate: READY\x1b[2J\u202e\u200b"}
    assert to_yaml(document) == 'a: "fine\\nstate: READY\\e[2J\\u202e\\u200b"\n'
    assert yaml.safe_load(to_yaml(document)) == document


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right) or left == right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)
