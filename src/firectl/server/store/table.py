"""How does a dataclass become a row, and a row a dataclass? Has the SQL statements that all tables share; no rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa

R = TypeVar("R")


class RowTable(Generic[R]):
    """One table within one transaction. Each field of `row_type` is a column; other columns are not read."""

    table: ClassVar[sa.Table]
    row_type: ClassVar[type[Any]]
    key: ClassVar[str] = "name"

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self, key: str) -> R | None:
        """Return the row with this key, or None."""
        found = self._select(self.table.c[self.key] == key)
        return found[0] if found else None

    def of_account(self, account: str) -> list[R]:
        """Return the rows of an account (`accounts/a`), sorted by key."""
        return self._select(self.table.c.account == account, order_by=[self.table.c[self.key]])

    def insert(self, row: R) -> None:
        """Insert a new row; sqlalchemy.exc.IntegrityError when its key already exists."""
        self._connection.execute(
            self.table.insert().values({f.name: getattr(row, f.name) for f in fields(self.row_type)})
        )

    def update(self, key: str, **columns: object) -> bool:
        """Set these columns of one row; False when there is no such row. Other columns stay as they are."""
        changed = self._connection.execute(self.table.update().where(self.table.c[self.key] == key).values(columns))
        return changed.rowcount > 0

    def delete(self, key: str) -> bool:
        """Delete one row; False when no row has this key."""
        return self._connection.execute(self.table.delete().where(self.table.c[self.key] == key)).rowcount > 0

    def _select(self, *where: sa.ColumnElement[bool], order_by: Sequence[sa.ColumnElement[Any]] = ()) -> list[R]:
        columns = (self.table.c[field.name] for field in fields(self.row_type))
        query = sa.select(*columns).where(*where).order_by(*order_by)
        return [self.row_type(**found) for found in self._connection.execute(query).mappings()]
