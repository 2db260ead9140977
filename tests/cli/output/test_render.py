"""Documents as text, tables and YAML."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from firectl.cli.output import render
from firectl.cli.output.output import Output
from firectl.cli.output.progress import Progress, size
from firectl.cli.output.yaml import to_yaml
from firectl.client.transfer.meter import TransferProgress as Moved

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


def test_a_message_is_one_label_a_field_and_what_is_nested_is_indented() -> None:
    document = {
        "name": "accounts/a/deployments/d",
        "max_replica_count": 0,
        "enable_addons": False,
        "replica_stats": {"ready_replica_count": 1},
        "target_modules": ["q_proj", "v_proj"],
        "status": {},
        "description": None,
        "deployed_model_refs": [{"name": "x", "default": True}, {"name": "y"}],
        "policy": {"load_targets": {"default": 0.8, "a_b": 2}},
    }
    assert list(render.lines(document, frozenset({"load_targets"}))) == [
        "Name: accounts/a/deployments/d",
        "Max Replica Count: 0",
        "Enable Addons: false",
        "Replica Stats:",
        "  Ready Replica Count: 1",
        "Target Modules: q_proj, v_proj",
        "Deployed Model Refs:",
        "  Name: x",
        "  Default: true",
        "  Name: y",
        "Policy:",
        "  Load Targets:",
        "    default: 0.8",
        "    a_b: 2",
    ]


def test_foreign_text_can_neither_forge_a_line_nor_move_the_cursor() -> None:
    document = {"description": "fine\nState: READY\x1b[2J\u202e"}
    assert list(render.lines(document)) == [r"Description: fine\nState: READY\x1b[2J\u202e"]


def test_a_table_is_aligned_never_cut_and_shows_what_is_absent() -> None:
    rows = [("accounts/a/models/" + "m" * 60, True, None), ("b", 0, "two words")]
    assert list(render.table(("NAME", "OK", "NOTE"), rows)) == [
        f"NAME{' ' * 74}  OK    NOTE",
        f"accounts/a/models/{'m' * 60}  true  -",
        f"b{' ' * 77}  0     two words",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert list(render.table(("NAME", "STATE"), [])) == ["NAME  STATE"]


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


def test_a_transfer_is_lines_of_tenths_unless_it_is_over_in_a_moment() -> None:
    def lines(total: int) -> list[str]:
        err = io.StringIO()
        with Progress(Output(stderr=err)).transfer("uploading") as transfer:
            for done in range(0, total + 1, total // 40):
                transfer.one("a.bin", done, total)
        return err.getvalue().splitlines()

    assert lines(4_000) == ["uploading 100% of 4.0 kB (a.bin)"]
    assert lines(40_000_000) == [
        *(f"uploading {10 * tenth}% of 40.0 MB (a.bin {10 * tenth}%)" for tenth in range(10)),
        "uploading 100% of 40.0 MB (a.bin)",
    ]


def test_what_was_there_already_is_no_transfer() -> None:
    err = io.StringIO()
    with Progress(Output(stderr=err)).transfer("downloading") as transfer:
        for done in (40_000_000, 80_000_000):
            transfer.show(Moved(file="a", done=done, size=done, total_done=done, total_size=80_000_000, moved=0))
    assert err.getvalue() == "downloading 50% of 80.0 MB (a)\n"


def test_bytes_are_counted_for_people() -> None:
    assert [size(count) for count in (0, 999, 1000, 1_234_567, 5 * 10**12, 10**16)] == [
        "0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 TB", "10000.0 TB",
    ]  # fmt: skip
