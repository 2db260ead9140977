"""Rows of accounts, users and API keys. Only the sha256 of a key is stored. SQL only."""

from __future__ import annotations

from firectl.server.store import tables
from firectl.server.store.rows import AccountRow, ApiKeyRow, UserRow
from firectl.server.store.table import RowTable


class AccountTable(RowTable[AccountRow]):
    table = tables.accounts
    row_type = AccountRow


class UserTable(RowTable[UserRow]):
    table = tables.users
    row_type = UserRow


class ApiKeyTable(RowTable[ApiKeyRow]):
    table = tables.api_keys
    row_type = ApiKeyRow
    key = "key_id"

    def of_user(self, user: str) -> list[ApiKeyRow]:
        """Return the keys of a user (`accounts/a/users/u`), oldest first."""
        columns = tables.api_keys.c
        return self._select(columns.user == user, order_by=[columns.create_time, columns.key_id])

    def by_hash(self, sha256: str) -> ApiKeyRow | None:
        """Return the key whose secret has this sha256 (hexadecimal), or None."""
        found = self._select(tables.api_keys.c.sha256 == sha256)
        return found[0] if found else None
