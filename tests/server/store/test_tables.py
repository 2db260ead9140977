"""`server/store/tables.py`: the constraints and column types of the schema."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from sqlalchemy.exc import IntegrityError

from firectl.server.store import Store
from tests.server.store.rows import DEPLOYMENT, LOAD, MODEL, NOW


def test_times_come_back_in_utc_whatever_their_zone(store: Store) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with store.begin() as tx:
        tx.deployments.update(DEPLOYMENT.name, last_request_time=there)
    with store.read() as tx:
        row = tx.deployments.get(DEPLOYMENT.name)
    assert row is not None
    assert row.last_request_time == NOW
    assert row.last_request_time.utcoffset() == timedelta(0)


def test_a_model_has_one_default_at_most(store: Store) -> None:
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.deployed_models.insert(replace(LOAD, name="accounts/a/deployedModels/other"))
    with store.begin() as tx:
        for number in range(2):
            tx.deployed_models.insert(replace(LOAD, name=f"accounts/a/deployedModels/{number}", default=False))
        assert tx.deployed_models.default_of(MODEL.name) == LOAD


def test_a_row_that_is_referred_to_cannot_be_deleted(store: Store) -> None:
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.models.delete(MODEL.name)
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.deployments.delete(DEPLOYMENT.name)
