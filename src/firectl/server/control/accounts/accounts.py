"""Which accounts, users and API keys exist?"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from firectl.errors import failed_precondition, invalid, not_found
from firectl.names import random_id
from firectl.schemas.account import Account, ApiKey, User
from firectl.schemas.base import Status
from firectl.schemas.words import AccountState
from firectl.server.access.auth import PUBLIC_ACCOUNT, key_hash
from firectl.server.disk.credentials import new_key
from firectl.server.platform import Platform
from firectl.server.store import Store
from firectl.server.store.rows import AccountRow, ApiKeyRow, UserRow

OWNER = "owner"
"""ID of the one user of the platform's account."""
OWN_KEY = "platform"
"""ID of the API key that the platform made for itself; the key is in its credentials file."""
R = TypeVar("R")
_PREFIX_SHOWN = 6


def bootstrap(store: Store, account: str, api_key: str, now: datetime) -> None:
    """Insert the platform's account, its user, its own key and the public account, where they are missing."""
    user = UserRow(name=f"{account}/users/{OWNER}", account=account, display_name="Owner", create_time=now)
    with store.begin() as tx:
        for name, title in ((account, account.removeprefix("accounts/")), (PUBLIC_ACCOUNT, "Public models")):
            if tx.accounts.get(name) is None:
                tx.accounts.insert(AccountRow(name=name, display_name=title, create_time=now))
        if tx.users.get(user.name) is None:
            tx.users.insert(user)
        own = tx.api_keys.get(OWN_KEY)
        if own is None or (own.sha256, own.account) != (key_hash(api_key), account):
            tx.api_keys.delete(OWN_KEY)
            tx.api_keys.insert(_key_row(OWN_KEY, user, api_key, "platform", now))


def get_account(platform: Platform, account: str) -> Account:
    """Return the account of this full name."""
    with platform.store.read() as tx:
        row = _found(tx.accounts.get(account), f"account {account}")
    return Account(
        name=row.name,
        display_name=row.display_name,
        email=_email(row.name),
        state=AccountState.READY,
        status=Status.of(None, ""),
        suspend_state="UNSUSPENDED",
        create_time=row.create_time,
        update_time=row.create_time,
    )


def get_user(platform: Platform, name: str) -> User:
    """Return the user of this full name."""
    with platform.store.read() as tx:
        return _user(_found(tx.users.get(name), f"user {name}"))


def list_users(platform: Platform, account: str) -> list[User]:
    """Return the users of an account."""
    with platform.store.read() as tx:
        return [_user(row) for row in tx.users.of_account(account)]


def create_key(platform: Platform, user: str, wanted: ApiKey) -> ApiKey:
    """Create a key with the name and expiry of `wanted`. Only the returned key has the secret; it is not stored."""
    now = platform.clock()
    if wanted.expire_time is not None and wanted.expire_time <= now:
        raise invalid("expire_time must be in the future")
    secret = new_key()
    with platform.store.begin() as tx:
        owner = _found(tx.users.get(user), f"user {user}")
        row = _key_row(random_id(16), owner, secret, wanted.display_name or "default", now, wanted.expire_time)
        tx.api_keys.insert(row)
    return _key(row).model_copy(update={"key": secret})


def list_keys(platform: Platform, user: str) -> list[ApiKey]:
    """Return the keys of a user, without their secrets, oldest first."""
    with platform.store.read() as tx:
        _found(tx.users.get(user), f"user {user}")
        return [_key(row) for row in tx.api_keys.of_user(user)]


def delete_key(platform: Platform, user: str, key_id: str) -> None:
    """Delete a key, so that it is no longer valid. FAILED_PRECONDITION for the platform's own key."""
    with platform.store.begin() as tx:
        _found(tx.users.get(user), f"user {user}")
        row = tx.api_keys.get(key_id)
        if row is None or row.user != user:
            raise not_found(f"API key {key_id!r}")
        if key_id == OWN_KEY:
            raise failed_precondition("this is the platform's own key, which firectl local uses; it cannot be deleted")
        tx.api_keys.delete(key_id)
    platform.authenticator.forget(row.sha256)


def _found(row: R | None, what: str) -> R:
    if row is None:
        raise not_found(what)
    return row


def _email(account: str) -> str:
    return f"{account.removeprefix('accounts/')}@localhost"


def _key_row(
    key_id: str, user: UserRow, secret: str, display_name: str, now: datetime, expire: datetime | None = None
) -> ApiKeyRow:
    return ApiKeyRow(
        key_id=key_id,
        user=user.name,
        account=user.account,
        sha256=key_hash(secret),
        prefix=secret[:_PREFIX_SHOWN],
        display_name=display_name,
        create_time=now,
        expire_time=expire,
    )


def _user(row: UserRow) -> User:
    return User(
        name=row.name,
        display_name=row.display_name,
        email=_email(row.account),
        role="admin",
        state=AccountState.READY,
        status=Status.of(None, ""),
        create_time=row.create_time,
        update_time=row.create_time,
    )


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        key_id=row.key_id,
        display_name=row.display_name,
        email=_email(row.account),
        prefix=row.prefix,
        secure=True,
        create_time=row.create_time,
        expire_time=row.expire_time,
    )
