"""A caller sees the rows of its own account and of the public one; others are not found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firectl.errors import ApiError, Code, InputError
from firectl.server.access.auth import PUBLIC_ACCOUNT, Caller
from firectl.server.control.accounts import access
from firectl.server.platform import Platform
from tests.server.control.still import CALLER, ME, D, create, load

STRANGER = Caller("accounts/stranger", "accounts/stranger/users/owner")


def test_accounts_of_others_are_not_found() -> None:
    assert access.account(CALLER, "me") == ME
    assert access.account(CALLER, "fireworks") == PUBLIC_ACCOUNT
    with pytest.raises(ApiError, match="account accounts/stranger not found") as raised:
        access.account(CALLER, "stranger")
    assert raised.value.code is Code.NOT_FOUND


def test_rows_of_others_are_not_found_as_if_they_did_not_exist(still: Platform) -> None:
    create(still, enableAddons=True)
    loaded = load(still, "a1").name or ""
    found = (
        (access.model, "model", f"{ME}/models/a1"),
        (access.deployment, "deployment", D),
        (access.deployed_model, "deployed model", loaded),
    )
    with still.store.read() as tx:
        for get, what, name in found:
            assert get(tx, CALLER, name).name == name
            for caller, asked in ((STRANGER, name), (CALLER, f"{name}-missing")):
                with pytest.raises(ApiError) as raised:
                    get(tx, caller, asked)
                assert (raised.value.code, raised.value.message) == (Code.NOT_FOUND, f"{what} {asked} not found")


def test_rows_of_the_public_account_are_found_by_everybody(still: Platform) -> None:
    with still.store.begin() as tx:
        row = access.model(tx, CALLER, f"{ME}/models/base")
        public = replace(row, name=f"{PUBLIC_ACCOUNT}/models/base", account=PUBLIC_ACCOUNT)
        tx.models.insert(public)
        assert access.model(tx, STRANGER, public.name) == public


def test_an_id_in_a_body_means_the_caller_s_account() -> None:
    assert access.reference("m", "model", "models", CALLER) == f"{ME}/models/m"
    assert access.reference("accounts/x/models/m", "model", "models", CALLER) == "accounts/x/models/m"


def test_a_reference_that_is_missing_or_malformed_is_refused() -> None:
    for text in (None, ""):
        with pytest.raises(ApiError, match="base_model is missing: expected the full name of a model"):
            access.reference(text, "base_model", "models", CALLER)
    with pytest.raises(InputError):
        access.reference("accounts/me/deployments/d", "base_model", "models", CALLER)


def test_a_new_id_is_checked() -> None:
    assert access.new_id("d-1", "deployment") == "d-1"
    with pytest.raises(InputError, match="is not a valid deployment ID"):
        access.new_id("D_1", "deployment")
