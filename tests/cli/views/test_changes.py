"""The flags of an update as a resource and its mask, and what differs in the answer."""

from __future__ import annotations

import pytest

from firectl.cli.views.changes import changes, difference, lost
from firectl.errors import InputError
from firectl.schemas.model import Model


def test_only_the_given_flags_are_sent_and_named() -> None:
    given = {"display_name": None, "description": "", "public": False}
    row, mask = changes("model", Model, given)
    assert mask == ["description", "public"]
    assert row.to_document() == {"description": "", "public": False}


def test_an_update_without_flags_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to change") as caught:
        changes("model", Model, {"display_name": None})
    assert caught.value.hint == "firectl model update --help"


def test_a_value_that_the_answer_lacks_is_named_with_the_one_it_has() -> None:
    answer = Model(name="accounts/a/models/m", display_name="Old")
    given = {"display_name": "New", "public": True, "description": "", "supports_tools": None}
    assert list(lost(given, answer)) == [
        "--display-name New was asked for, and accounts/a/models/m has Old",
        "--public true was asked for, and accounts/a/models/m has none",
    ]


@pytest.mark.parametrize(("want", "have"), [(0, None), (False, None), ("", None), (3, 3), (None, 3)])
def test_an_absent_value_is_the_empty_one(want: object, have: object) -> None:
    assert list(difference("--x", want, have)) == []
