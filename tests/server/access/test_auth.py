"""Keys: known by their hash, cached once seen, ended by their time or their deletion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firectl.errors import ApiError, Code
from firectl.server.access.auth import PUBLIC_ACCOUNT, Authenticator, Caller, key_hash
from firectl.server.control.accounts.accounts import OWN_KEY, bootstrap
from firectl.server.store import Store

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ME = Caller("accounts/me", "accounts/me/users/owner")
HEADER = "Bearer fw_key"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'db.sqlite'}")
    bootstrap(store, ME.account, "fw_key", NOW)
    yield store
    store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(store: Store, clock: Clock) -> Authenticator:
    return Authenticator(store, clock)


def test_a_key_is_looked_up_once_and_cached_from_then_on(authenticator: Authenticator) -> None:
    assert authenticator.known(HEADER) is None
    assert authenticator.authenticate(HEADER) == ME
    assert authenticator.known("bearer  fw_key") == ME


def test_a_deleted_key_is_refused_at_once(authenticator: Authenticator, store: Store) -> None:
    authenticator.authenticate(HEADER)
    with store.begin() as tx:
        tx.api_keys.delete(OWN_KEY)
    authenticator.forget(key_hash("fw_key"))
    assert authenticator.known(HEADER) is None
    with pytest.raises(ApiError, match="the API key is not valid here"):
        authenticator.authenticate(HEADER)


def test_a_key_ends_at_its_time_also_when_it_is_cached(
    authenticator: Authenticator, store: Store, clock: Clock
) -> None:
    with store.begin() as tx:
        own = tx.api_keys.get(OWN_KEY)
        assert own is not None
        end = NOW + timedelta(hours=1)
        tx.api_keys.insert(replace(own, key_id="short", sha256=key_hash("fw_short"), expire_time=end))
    clock.now = end - timedelta(seconds=1)
    assert authenticator.authenticate("Bearer fw_short") == ME
    clock.now = end
    for ask in (authenticator.known, authenticator.authenticate):
        with pytest.raises(ApiError, match=re.escape(f"the API key expired at {end.isoformat()}")) as raised:
            ask("Bearer fw_short")
        assert raised.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic fw_key", "fw_key"])
def test_a_header_without_a_bearer_key_is_unauthenticated(authenticator: Authenticator, header: str | None) -> None:
    for ask in (authenticator.known, authenticator.authenticate):
        with pytest.raises(ApiError, match="no API key was sent"):
            ask(header)


@pytest.mark.parametrize("key", ["fw_wrong", "x" * 10_000, "\ud800"])
def test_a_wrong_key_is_unauthenticated(authenticator: Authenticator, key: str) -> None:
    with pytest.raises(ApiError, match="the API key is not valid here"):
        authenticator.authenticate(f"Bearer {key}")


def test_a_caller_may_use_its_own_account_and_the_public_one() -> None:
    assert ME.may_use(ME.account)
    assert ME.may_use(PUBLIC_ACCOUNT)
    assert not ME.may_use("accounts/other")
