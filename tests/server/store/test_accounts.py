"""`server/store/accounts.py`: users by account, keys by user and by hash."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from firectl.server.store import Store
from firectl.server.store.rows import ApiKeyRow, UserRow
from tests.server.store.rows import NOW

USER = UserRow(name="accounts/a/users/u", account="accounts/a", display_name="U", create_time=NOW)
KEY = ApiKeyRow(
    key_id="k2",
    user=USER.name,
    account=USER.account,
    sha256="22",
    prefix="fw_2",
    display_name="second",
    create_time=NOW,
    expire_time=NOW + timedelta(days=1),
)


def test_keys_are_found_by_user_oldest_first_and_by_hash(store: Store) -> None:
    older = replace(KEY, key_id="k1", sha256="11", create_time=NOW - timedelta(1), expire_time=None)
    with store.begin() as tx:
        tx.users.insert(USER)
        for row in (KEY, older):
            tx.api_keys.insert(row)
        assert tx.api_keys.of_user(USER.name) == [older, KEY]
        assert tx.api_keys.of_user("accounts/a/users/other") == []
        assert tx.api_keys.by_hash("22") == KEY
        assert tx.api_keys.by_hash("33") is None
        assert tx.api_keys.get("k1") == older
        assert tx.api_keys.delete("k1")
        assert tx.api_keys.by_hash("11") is None


def test_users_are_listed_by_account_and_name(store: Store) -> None:
    first = replace(USER, name="accounts/a/users/a")
    with store.begin() as tx:
        for row in (USER, first):
            tx.users.insert(row)
        assert tx.users.of_account("accounts/a") == [first, USER]
        assert tx.users.of_account("accounts/b") == []
