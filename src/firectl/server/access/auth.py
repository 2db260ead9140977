"""Who is calling? Finds the account for the key in an Authorization header; only hashes of keys are stored.

Must not decide what a caller may do with a resource.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from firectl.errors import ApiError, Code
from firectl.server.store import Store
from firectl.server.store.rows import ApiKeyRow

PUBLIC_ACCOUNT = "accounts/fireworks"
"""The account of the public models: every key of the platform may read and write its resources."""
_LONGEST_KEY = 512


@dataclass(frozen=True)
class Caller:
    """The owner of a key: `account` (`accounts/a`) and `user` (`accounts/a/users/u`)."""

    account: str
    user: str

    def may_use(self, account: str) -> bool:
        """Whether the caller may see and change resources of this account (`accounts/a`)."""
        return account in (self.account, PUBLIC_ACCOUNT)


class Authenticator:
    """Checks API keys. Caches valid keys, so that a later request with the same key needs no query."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, ApiKeyRow] = {}
        self._forgotten = 0

    def known(self, header: str | None) -> Caller | None:
        """Return the caller if the key is cached; None when `authenticate` must query the store. Never queries.

        UNAUTHENTICATED when the header has no key.
        """
        with self._lock:
            row = self._known.get(key_hash(_key(header)))
        return self._caller(row) if row is not None else None

    def authenticate(self, header: str | None) -> Caller:
        """Return the caller; UNAUTHENTICATED when the header has no key, or a key that is not valid here."""
        digest = key_hash(_key(header))
        forgotten = self._forgotten
        with self._store.read() as tx:
            row = tx.api_keys.by_hash(digest)
        if row is None:
            raise ApiError(
                Code.UNAUTHENTICATED,
                "the API key is not valid here",
                hint='use the key of this platform: eval "$(firectl local env)"',
            )
        caller = self._caller(row)
        with self._lock:
            if forgotten == self._forgotten:  # otherwise this key may have been deleted since the query
                self._known[digest] = row
        return caller

    def forget(self, sha256: str) -> None:
        """Drop a deleted key from the cache."""
        with self._lock:
            self._forgotten += 1
            self._known.pop(sha256, None)

    def _caller(self, row: ApiKeyRow) -> Caller:
        if row.expire_time is not None and row.expire_time <= self._now():
            raise ApiError(Code.UNAUTHENTICATED, f"the API key expired at {row.expire_time.isoformat()}")
        return Caller(row.account, row.user)


def key_hash(key: str) -> str:
    """Return the hash that is stored of a key. Plain sha256 is enough: nobody can guess 256 random bits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _key(header: str | None) -> str:
    scheme, _, key = (header or "").strip().partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise ApiError(
            Code.UNAUTHENTICATED, "no API key was sent: expected the header 'Authorization: Bearer <API key>'"
        )
    if len(key) > _LONGEST_KEY:
        raise ApiError(Code.UNAUTHENTICATED, "the API key is not valid here")
    return key
