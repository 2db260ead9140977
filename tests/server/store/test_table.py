"""`server/store/table.py`: dataclasses become rows and come back; a statement touches one row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from firectl.server.store import Store
from tests.server.store.rows import DEPLOYMENT, LOAD, MODEL


def test_rows_come_back_as_they_went_in(store: Store) -> None:
    with store.read() as tx:
        assert tx.models.get(MODEL.name) == MODEL
        assert tx.deployments.get(DEPLOYMENT.name) == DEPLOYMENT
        assert tx.deployed_models.get(LOAD.name) == LOAD
        assert tx.models.get("accounts/a/models/none") is None


def test_an_update_changes_its_columns_alone_and_says_whether_there_was_a_row(store: Store) -> None:
    with store.begin() as tx:
        assert tx.deployments.update(DEPLOYMENT.name, desired_replicas=3, merge_record={"tensors_changed": 2})
        assert not tx.deployments.update("accounts/a/deployments/none", desired_replicas=3)
    with store.read() as tx:
        expected = replace(DEPLOYMENT, desired_replicas=3, merge_record={"tensors_changed": 2})
        assert tx.deployments.get(DEPLOYMENT.name) == expected


def test_a_name_is_taken_once(store: Store) -> None:
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.models.insert(MODEL)
