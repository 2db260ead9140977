"""Accounts, users and API keys: who is here, and which keys they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from firectl.errors import ApiError, Code
from firectl.names import random_id
from firectl.schemas.account import Account, ApiKey, User
from firectl.schemas.base import Status
from firectl.server.access.auth import PUBLIC_ACCOUNT, key_hash
from firectl.server.disk.credentials import new_key
from firectl.server.platform import Platform
from firectl.server.store import Store
from firectl.server.store.rows import AccountRow, ApiKeyRow, UserRow

OWNER = "owner"
"""ID of the one user of the platform's account."""
OWN_KEY = "platform"
"""ID of the key that the platform made for itself, in its credential store."""
_READY = "READY"
R = TypeVar("R")
_PREFIX_SHOWN = 6


def bootstrap(store: Store, account: str, api_key: str, now: datetime) -> None:
    """Make sure that the platform's account, its user, its own key and the public account are there."""
    user = f"{account}/users/{OWNER}"
    with store.begin() as tx:
        for name, title in ((account, account.removeprefix("accounts/")), (PUBLIC_ACCOUNT, "Public models")):
            if tx.accounts.get(name) is None:
                tx.accounts.insert(AccountRow(name=name, display_name=title, create_time=now))
        if tx.users.get(user) is None:
            tx.users.insert(UserRow(name=user, account=account, display_name="Owner", create_time=now))
        own = tx.api_keys.get(OWN_KEY)
        if own is not None and (own.sha256, own.account) != (key_hash(api_key), account):
            tx.api_keys.delete(OWN_KEY)
            own = None
        if own is None:
            tx.api_keys.insert(_key_row(OWN_KEY, user, account, api_key, "platform", now, None))


def get_account(platform: Platform, account: str) -> Account:
    """The account of that full name."""
    with platform.store.read() as tx:
        return _account(_found(tx.accounts.get(account), f"account {account}"))


def get_user(platform: Platform, name: str) -> User:
    """The user of that full name."""
    with platform.store.read() as tx:
        return _user(_found(tx.users.get(name), f"user {name}"))


def list_users(platform: Platform, account: str) -> list[User]:
    """The users of an account."""
    with platform.store.read() as tx:
        return [_user(row) for row in tx.users.of_account(account)]


@dataclass(frozen=True)
class NewKey:
    """What a caller may say about a key."""

    display_name: str | None
    expire_time: datetime | None


def create_key(platform: Platform, user: str, wanted: NewKey) -> ApiKey:
    """A new key; its secret is in the answer and nowhere else."""
    now = platform.clock()
    if wanted.expire_time is not None and wanted.expire_time <= now:
        raise ApiError(Code.INVALID_ARGUMENT, "expire_time must lie in the future")
    secret = new_key()
    with platform.store.begin() as tx:
        owner = _found(tx.users.get(user), f"user {user}")
        name = wanted.display_name or "default"
        row = _key_row(random_id(16), owner.name, owner.account, secret, name, now, wanted.expire_time)
        tx.api_keys.insert(row)
    return _key(row).model_copy(update={"key": secret})


def list_keys(platform: Platform, user: str) -> list[ApiKey]:
    """The keys of a user, without their secrets, oldest first."""
    with platform.store.read() as tx:
        _found(tx.users.get(user), f"user {user}")
        return [_key(row) for row in tx.api_keys.of_user(user)]


def delete_key(platform: Platform, user: str, key_id: str) -> None:
    """The key is not valid from now on. FAILED_PRECONDITION for the platform's own."""
    with platform.store.begin() as tx:
        _found(tx.users.get(user), f"user {user}")
        row = tx.api_keys.get(key_id)
        if row is None or row.user != user:
            raise ApiError(Code.NOT_FOUND, f"API key {key_id!r} not found")
        if key_id == OWN_KEY:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                "this is the platform's own key, which firectl local uses; it cannot be deleted",
            )
        tx.api_keys.delete(key_id)
    platform.authenticator.forget(row.sha256)


def _key_row(
    key_id: str, user: str, account: str, secret: str, display_name: str, now: datetime, expire: datetime | None
) -> ApiKeyRow:
    return ApiKeyRow(
        key_id=key_id,
        user=user,
        account=account,
        sha256=key_hash(secret),
        prefix=secret[:_PREFIX_SHOWN],
        display_name=display_name,
        create_time=now,
        expire_time=expire,
    )


def _found(row: R | None, what: str) -> R:
    if row is None:
        raise ApiError(Code.NOT_FOUND, f"{what} not found")
    return row


def _account(row: AccountRow) -> Account:
    return Account(
        name=row.name,
        display_name=row.display_name,
        email=f"{row.name.removeprefix('accounts/')}@localhost",
        state=_READY,
        status=Status.of(None, ""),
        suspend_state="UNSUSPENDED",
        create_time=row.create_time,
        update_time=row.create_time,
    )


def _user(row: UserRow) -> User:
    return User(
        name=row.name,
        display_name=row.display_name,
        email=f"{row.account.removeprefix('accounts/')}@localhost",
        role="admin",
        state=_READY,
        status=Status.of(None, ""),
        create_time=row.create_time,
        update_time=row.create_time,
    )


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        key_id=row.key_id,
        display_name=row.display_name,
        email=f"{row.account.removeprefix('accounts/')}@localhost",
        prefix=row.prefix,
        secure=True,
        create_time=row.create_time,
        expire_time=row.expire_time,
    )
