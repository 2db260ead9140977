"""Accounts, users and their API keys (`client/account.py`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firectl import Client
from firectl.errors import InputError, NetworkError
from firectl.schemas.account import ApiKey
from tests.client.script_server import RESET, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]


def test_an_account_is_named_with_or_without_its_collection(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"name": "accounts/a"}), answer(200, {"name": "accounts/a"}), answer(200, {}))
    accounts = connect(server.url).accounts
    assert accounts.get("a") == accounts.get("accounts/a")
    assert list(accounts.list()) == []
    assert [request.path.partition("?")[0] for request in server.received] == [
        "/v1/accounts/a",
        "/v1/accounts/a",
        "/v1/accounts",
    ]
    with pytest.raises(InputError):
        accounts.get("accounts/a/users/u")


@pytest.mark.parametrize(
    ("ids", "said", "hint"),
    [
        ((), "accounts/acme shows no user", "name the user: --user USER_ID"),
        (("ann", "bob"), "accounts/acme has 2 users: ann, bob", "choose one: --user ann"),
    ],
)
def test_the_only_user_of_an_account_is_taken(
    serve: Serve, connect: Connect, ids: tuple[str, ...], said: str, hint: str
) -> None:
    users = [{"name": f"accounts/acme/users/{user}"} for user in ids]
    with pytest.raises(InputError) as caught:
        connect(serve(answer(200, {"users": users})).url).users.only()
    assert (caught.value.message, caught.value.hint) == (said, hint)
    one = serve(answer(200, {"users": [{"name": "accounts/acme/users/ann"}]}))
    assert connect(one.url).users.only() == "accounts/acme/users/ann"


def test_a_key_is_made_and_revoked_under_its_user(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"keyId": "k1", "key": "fw_new"}), answer(200, {}), answer(200, {"apiKeys": []}))
    keys = connect(server.url).api_keys
    assert keys.create("ann", ApiKey(display_name="ci")).key == "fw_new"
    keys.revoke("accounts/acme/users/ann", "k1")
    assert list(keys.list(user="ann")) == []
    told = [(request.method, request.path.partition("?")[0]) for request in server.received]
    path = "/v1/accounts/acme/users/ann/apiKeys"
    assert told == [("POST", path), ("POST", f"{path}:delete"), ("GET", path)]
    assert server.received[0].json == {"apiKey": {"displayName": "ci"}}
    assert server.received[1].json == {"keyId": "k1"}


def test_a_key_whose_answer_is_lost_is_not_made_twice(serve: Serve, connect: Connect) -> None:
    server = serve(RESET)
    with pytest.raises(NetworkError) as caught:
        connect(server.url).api_keys.create("ann", ApiKey())
    assert caught.value.hint == "it may have been created: firectl api-key list --user ann"
    assert len(server.received) == 1
    with pytest.raises(NetworkError, match="expected a key, got none"):
        connect(serve(answer(200, {"keyId": "k1"})).url).api_keys.create("ann", ApiKey())
