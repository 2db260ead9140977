"""Accounts, users and API keys over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from firectl.errors import ApiError, Code
from firectl.schemas.account import Account, ApiKey, CreateApiKey, DeleteApiKey, User
from firectl.schemas.base import Wire
from firectl.server.control.accounts import accounts
from firectl.server.doors.call import Call, route
from firectl.server.platform import Platform

_ACCOUNT = "/v1/accounts/{account:id}"


def routes(platform: Platform) -> list[BaseRoute]:
    return [
        route(platform, "/v1/accounts", GET=_list),
        route(platform, _ACCOUNT, GET=_get),
        route(platform, f"{_ACCOUNT}/users", GET=_list_users, POST=_create_user),
        route(platform, f"{_ACCOUNT}/users/{{id:id}}", GET=_get_user, PATCH=_create_user),
        route(platform, f"{_ACCOUNT}/users/{{id:id}}/apiKeys", GET=_list_keys, POST=_create_key),
        route(platform, f"{_ACCOUNT}/users/{{id:id}}/apiKeys:delete", POST=_delete_key),
    ]


def _list(call: Call) -> dict[str, Any]:
    # List only the caller's own account: clients call this to learn which account a key belongs to.
    return call.page([accounts.get_account(call.platform, call.caller.account)], Account, "accounts")


def _get(call: Call) -> dict[str, Any]:
    return call.masked(accounts.get_account(call.platform, call.account))


def _list_users(call: Call) -> dict[str, Any]:
    return call.page(accounts.list_users(call.platform, call.account), User, "users")


def _get_user(call: Call) -> dict[str, Any]:
    return call.masked(accounts.get_user(call.platform, call.name("users")))


def _create_user(call: Call) -> dict[str, Any]:
    raise ApiError(
        Code.UNIMPLEMENTED, f"the platform has one user, {accounts.OWNER!r}, who can create API keys for others"
    )


def _list_keys(call: Call) -> dict[str, Any]:
    keys = accounts.list_keys(call.platform, call.name("users"))
    return call.page(keys, ApiKey, "apiKeys", order="create_time", unique="key_id")


def _create_key(call: Call) -> Wire:
    return accounts.create_key(call.platform, call.name("users"), call.body(CreateApiKey).api_key or ApiKey())


def _delete_key(call: Call) -> dict[str, Any]:
    accounts.delete_key(call.platform, call.name("users"), call.body(DeleteApiKey).key_id)
    return {}
