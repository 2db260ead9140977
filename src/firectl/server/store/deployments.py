"""Rows of deployments and of the models deployed on them. SQL only: `control` decides what may be written."""

from __future__ import annotations

import sqlalchemy as sa

from firectl.schemas.words import DeploymentState
from firectl.server.store import tables
from firectl.server.store.rows import DeployedModelRow, DeploymentRow
from firectl.server.store.table import RowTable

_BY_AGE = [tables.deployments.c.create_time, tables.deployments.c.name]


class DeploymentTable(RowTable[DeploymentRow]):
    table = tables.deployments
    row_type = DeploymentRow

    def of_account(self, account: str) -> list[DeploymentRow]:
        """Return the deployments of an account (`accounts/a`), DELETED ones included, oldest first."""
        return self._select(tables.deployments.c.account == account, order_by=_BY_AGE)

    def all(self) -> list[DeploymentRow]:
        """Return the deployments of every account, DELETED ones included, oldest first."""
        return self._select(order_by=_BY_AGE)

    def active(self) -> list[DeploymentRow]:
        """Return the deployments of every account that are not DELETED, oldest first. Only these may have processes."""
        return self._select(tables.deployments.c.state != DeploymentState.DELETED, order_by=_BY_AGE)

    def of_model(self, model: str) -> list[DeploymentRow]:
        """Return the deployments that serve this model or need it as their base, except DELETED ones, oldest first."""
        of_it = sa.or_(tables.deployments.c.model == model, tables.deployments.c.base == model)
        return self._select(of_it, tables.deployments.c.state != DeploymentState.DELETED, order_by=_BY_AGE)


class DeployedModelTable(RowTable[DeployedModelRow]):
    table = tables.deployed_models
    row_type = DeployedModelRow

    def all(self) -> list[DeployedModelRow]:
        """Return the rows of every account, sorted by name."""
        return self._select(order_by=[tables.deployed_models.c.name])

    def of_pair(self, model: str, deployment: str) -> list[DeployedModelRow]:
        """Return the rows of a model on a deployment, oldest first. A second row exists while an old one unloads."""
        columns = tables.deployed_models.c
        return self._select(
            columns.model == model, columns.deployment == deployment, order_by=[columns.create_time, columns.name]
        )

    def of_deployment(self, deployment: str) -> list[DeployedModelRow]:
        """Return all rows of a deployment, its own model included, oldest first."""
        columns = tables.deployed_models.c
        return self._select(columns.deployment == deployment, order_by=[columns.create_time, columns.name])

    def of_model(self, model: str) -> list[DeployedModelRow]:
        """Return all rows of a model, oldest first."""
        columns = tables.deployed_models.c
        return self._select(columns.model == model, order_by=[columns.create_time, columns.name])

    def default_of(self, model: str) -> DeployedModelRow | None:
        """Return the row that receives requests which name only this model, or None."""
        found = self._select(tables.deployed_models.c.model == model, tables.deployed_models.c.default)
        return found[0] if found else None
