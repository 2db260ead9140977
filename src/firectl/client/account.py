"""Accounts: what a key can see."""

from __future__ import annotations

from firectl import names
from firectl.client.resource import ListArgs, Resource
from firectl.schemas.account import Account


class Accounts(Resource[Account]):
    collection = "accounts"
    schema = Account

    def full_name(self, name: str) -> str:
        """`a` or `accounts/a` → `accounts/a`."""
        account = name.removeprefix("accounts/")
        names.check_id(account, "account")
        return f"accounts/{account}"

    def _parent(self, args: ListArgs) -> str:
        return "/v1/accounts"
