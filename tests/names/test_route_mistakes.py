"""What is said of a string that is no route, and what is suggested instead."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from firectl.errors import InputError
from firectl.names import (
    check_route,
    parse_route,
)
from firectl.names.route_mistakes import explain_route
from firectl.names.routes import LONGEST_ROUTE
from tests.names.strategies import ID, accounts, ids, slipped, strings


@given(strings, accounts)
def test_every_suggestion_is_a_canonical_route(text: str, account: str | None) -> None:
    for problem in check_route(text, account).errors:
        if problem.suggestion is not None:
            assert check_route(problem.suggestion).canonical == problem.suggestion


@given(slipped(), ids)
def test_a_mistake_in_the_middle_of_two_full_names_is_mended_to_names_made_of_the_same_words(
    text: str, account: str
) -> None:
    suggestion = check_route(text, account).suggestion
    for name in suggestion.split("#") if suggestion else []:
        assert re.fullmatch(rf"accounts/{ID.pattern}/(models|deployments)/{ID.pattern}", name)


def test_a_string_longer_than_any_route_is_refused_at_the_first_character_too_many() -> None:
    longest = "#".join(f"accounts/{'a' * 63}/{side}/{'b' * 63}" for side in ("models", "deployments"))
    assert len(longest) == LONGEST_ROUTE
    assert check_route(longest).canonical == longest
    (problem,) = check_route("x" * 2001).errors
    assert (problem.position, problem.message) == (292, "2001 characters: at most 292 are allowed")


def test_the_public_catalog_is_never_guessed_as_the_account_of_a_deployment() -> None:
    assert check_route("fireworks/base#prod").suggestion is None
    assert check_route("acme/tuned#prod").suggestion == "accounts/acme/models/tuned#accounts/acme/deployments/prod"


def test_every_mistake_of_a_string_is_told_at_once() -> None:
    report = check_route(' "Accounts/acme/models/My_Model/"#acme/prod')
    assert [(problem.position, problem.message) for problem in report.errors] == [
        (0, "a space: not allowed in a name"),
        (1, "a quotation mark: not part of the name"),
        (2, "'Accounts': write 'accounts'"),
        (23, "a capital letter: IDs are lower case"),
        (25, "'_': IDs are made of a-z, 0-9 and '-'"),
        (31, "a trailing slash"),
        (32, "a quotation mark: not part of the name"),
    ]
    assert report.suggestion == "accounts/acme/models/my-model#accounts/acme/deployments/prod"


def test_an_explanation_is_given_to_servers_without_an_account() -> None:
    with pytest.raises(InputError) as raised:
        parse_route("tuned#accounts/acme/deployments/prod")
    assert raised.value.message == (
        "'tuned#accounts/acme/deployments/prod' is not a route: a short name, and no account is known to complete it: "
        "write accounts/<ACCOUNT_ID>/models/tuned (character 0)"
    )
    assert raised.value.hint == "write accounts/acme/models/tuned#accounts/acme/deployments/prod"


def test_the_explanation_of_an_empty_string_is_one_problem() -> None:
    assert explain_route("", None) == ([(0, "empty: expected a model or a deployment")], None)
