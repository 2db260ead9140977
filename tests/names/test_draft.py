"""A string while it is corrected: characters, and where each stood in the input."""

from __future__ import annotations

import pytest
from hypothesis import given

from firectl.names.draft import Draft, describe
from firectl.names.routes import LONGEST_ROUTE
from tests.names.strategies import accounts, routes


@given(routes, accounts)
def test_nothing_is_found_wrong_with_the_characters_of_a_well_formed_string(text: str, account: str | None) -> None:
    assert Draft.of(text, account, LONGEST_ROUTE).text == text


@pytest.mark.parametrize(
    ("text", "corrected", "problems"),
    [
        ("a\u200bb", "ab", {1: "an invisible character, U+200B ZERO WIDTH SPACE"}),
        ("\u0430-b", "a-b", {0: "U+0430 CYRILLIC SMALL LETTER A, which only looks like 'a'"}),
        ("a%23b", "a#b", {1: "'%23' is '#', URL-encoded: write the character itself"}),
        ("'a'", "a", {
            0: "a quotation mark: not part of the name",
            2: "a quotation mark: not part of the name",
        }),
        ("a b", "a-b", {1: "a space: not allowed in a name"}),
        (r"models\m", "models/m", {6: "a backslash: not part of the name"}),
        ("https://x.y/m?q=1", "m", {0: "a URL: write the name alone"}),
        ("(m).", "m", {0: "'(': not part of the name", 2: "').': not part of the name"}),
    ],
)  # fmt: skip
def test_a_character_is_mended_and_named_where_it_stood(text: str, corrected: str, problems: dict[int, str]) -> None:
    draft = Draft.of(text, None, LONGEST_ROUTE)
    assert (draft.text, draft.problems) == (corrected, problems)
    assert draft.correctable
    assert len(draft.at) == len(corrected) + 1


def test_a_placeholder_is_filled_with_the_account_or_leaves_the_text_unknown() -> None:
    known = Draft.of("accounts/<ACCOUNT_ID>/models/m", "acme", LONGEST_ROUTE)
    assert (known.text, known.correctable) == ("accounts/acme/models/m", True)
    unknown = Draft.of("accounts/acme/models/<MODEL>", "acme", LONGEST_ROUTE)
    assert not unknown.correctable
    assert unknown.problems == {21: "the placeholder '<MODEL>' was never filled in"}


def test_positions_are_those_of_the_input_after_a_replacement() -> None:
    draft = Draft("ab%2Fcd")
    draft.replace(2, 5, "/", "encoded")
    draft.report(3, "here")
    draft.report(3, "not said: one problem a character")
    assert draft.text == "ab/cd"
    assert draft.at == [0, 1, 2, 5, 6, 7]
    assert draft.problems == {2: "encoded", 5: "here"}


def test_a_text_too_long_to_look_into_is_refused_as_a_whole() -> None:
    draft = Draft.of("x" * 2001, None, 5)
    assert (draft.text, draft.correctable) == ("", False)
    assert draft.problems == {5: "2001 characters: at most 5 are allowed"}


def test_a_character_is_described_by_its_name_unless_it_is_plain() -> None:
    assert describe("#") == "'#'"
    assert describe(" ") == "U+0020 SPACE"
    assert describe("\u202e") == "U+202E RIGHT-TO-LEFT OVERRIDE"
    assert describe("\x07") == "U+0007"
