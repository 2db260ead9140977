"""`server/store/deployments.py`: which rows a query finds, and in which order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from firectl.schemas.words import DeploymentState
from firectl.server.store import Store
from tests.server.store.rows import DEPLOYMENT, LOAD, MODEL, NOW


def test_lists_are_by_account_and_active_ones_are_not_deleted(store: Store) -> None:
    older = replace(
        DEPLOYMENT, name="accounts/a/deployments/x", create_time=NOW - timedelta(1), state=DeploymentState.DELETED
    )
    with store.begin() as tx:
        tx.deployments.insert(older)
        assert [row.name for row in tx.deployments.of_account("accounts/a")] == [older.name, DEPLOYMENT.name]
        assert tx.deployments.of_account("accounts/b") == []
        assert tx.deployments.active() == [DEPLOYMENT]
        assert tx.deployments.of_model(MODEL.name) == [DEPLOYMENT]
        assert tx.deployed_models.of_pair(MODEL.name, DEPLOYMENT.name) == [LOAD]
        assert tx.deployed_models.of_deployment(older.name) == []
