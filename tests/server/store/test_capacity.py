"""Replicas of all deployments together stay under the cap of the platform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from firectl.errors import ApiError, Code
from firectl.schemas.words import DeploymentState
from firectl.server.store import Store, Tx
from firectl.server.store.capacity import free, reserve
from tests.server.store.rows import DEPLOYMENT

OTHER = "accounts/a/deployments/other"


@pytest.fixture
def tx(store: Store) -> Iterator[Tx]:
    """One deployment wants 1 replica, one 2; one that is DELETED does not count."""
    with store.begin() as tx:
        tx.deployments.insert(replace(DEPLOYMENT, name=OTHER, desired_replicas=2))
        gone = replace(DEPLOYMENT, name="accounts/a/deployments/gone", state=DeploymentState.DELETED)
        tx.deployments.insert(replace(gone, desired_replicas=9))
        yield tx


def test_what_others_want_is_not_free(tx: Tx) -> None:
    assert free(tx, DEPLOYMENT.name, 4) == 2
    assert free(tx, OTHER, 4) == 3
    assert free(tx, "accounts/a/deployments/new", 4) == 1
    assert free(tx, "accounts/a/deployments/new", 2) == -1


def test_a_number_that_fits_is_granted_and_zero_always_fits(tx: Tx) -> None:
    reserve(tx, DEPLOYMENT.name, 2, 4)
    reserve(tx, DEPLOYMENT.name, 0, 2)


def test_a_number_that_does_not_fit_now_is_refused_with_the_holders(tx: Tx) -> None:
    with pytest.raises(ApiError) as raised:
        reserve(tx, "accounts/a/deployments/new", 2, 4)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    assert raised.value.message == (
        "2 replicas for accounts/a/deployments/new do not fit: this platform runs at most 4 in total "
        f"(--max-replicas), 3 are taken by {DEPLOYMENT.name} (1), {OTHER} (2)"
    )


def test_a_number_that_never_fits_is_an_invalid_argument(tx: Tx) -> None:
    with pytest.raises(ApiError) as raised:
        reserve(tx, DEPLOYMENT.name, 5, 4)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.hint == "firectl local down && firectl local up --max-replicas 5"
