"""Which IDs and full names are valid, and how an argument becomes a full name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.errors import InputError
from firectl.names import (
    ResourceName,
    check_id,
    is_id,
    random_id,
    resolve,
)
from tests.names.strategies import ID, accounts, slipped, strings


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a--b", "llama-v3p1-8b-instruct", "a" * 63])
def test_a_valid_id_passes(text: str) -> None:
    check_id(text)
    assert is_id(text)


@given(st.text() | slipped())
def test_an_id_is_valid_or_refused_with_a_reason_and_a_valid_hint(text: str) -> None:
    if ID.fullmatch(text):
        check_id(text)
        return
    with pytest.raises(InputError) as raised:
        check_id(text)
    assert "character" in raised.value.message or "full name" in raised.value.message
    assert raised.value.hint is None or is_id(raised.value.hint.removeprefix("write "))


@pytest.mark.parametrize("n", [1, 8, 63])
def test_a_random_id_is_a_valid_id_of_the_length_asked_for(n: int) -> None:
    made = {random_id(n) for _ in range(200)}
    assert {len(text) for text in made} == {n}
    assert all(is_id(text) for text in made)


def test_random_ids_use_every_letter_and_do_not_repeat() -> None:
    made = [random_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert set("".join(made)) == set("abcdefghijklmnopqrstuvwxyz0123456789")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("accounts/acme/models/tuned", ResourceName("acme", "models", "tuned")),
        ("accounts/acme/deployedModels/tuned-x1", ResourceName("acme", "deployedModels", "tuned-x1")),
        ("accounts/acme/deploymentShapes/fast", ResourceName("acme", "deploymentShapes", "fast")),
        ("accounts/acme/deploymentShapes/fast/versions/v1", ResourceName("acme", "deploymentShapes", "fast", "v1")),
    ],
)
def test_a_full_name_is_taken_apart_and_put_together(text: str, name: ResourceName) -> None:
    assert ResourceName.parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    ("text", "collection", "full"),
    [
        ("tuned", "models", "accounts/acme/models/tuned"),
        ("models", "models", "accounts/acme/models/models"),
        ("prod", "deployments", "accounts/acme/deployments/prod"),
        ("accounts/fireworks/models/base", "models", "accounts/fireworks/models/base"),
        ("accounts/a/deploymentShapes/s/versions/v", "deploymentShapes", "accounts/a/deploymentShapes/s/versions/v"),
    ],
)
def test_an_argument_is_an_id_or_a_full_name(text: str, collection: str, full: str) -> None:
    assert resolve(text, collection, "acme") == full


def test_a_full_name_needs_no_account() -> None:
    assert resolve("accounts/a/models/m", "models", None) == "accounts/a/models/m"


@given(strings, st.sampled_from(["models", "deployments", "deployedModels", "deploymentShapes"]), accounts)
def test_resolving_gives_a_full_name_of_the_collection_or_an_input_error(
    text: str, collection: str, account: str | None
) -> None:
    try:
        full = resolve(text, collection, account)
    except InputError:
        full = f"accounts/x/{collection}/x"
    assert ResourceName.parse(full).collection == collection
