"""Rows of models and of their files. SQL only: `control` decides what may be written."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from firectl.server.store import tables
from firectl.server.store.rows import FileRow, ModelRow
from firectl.server.store.table import RowTable


class ModelTable(RowTable[ModelRow]):
    table = tables.models
    row_type = ModelRow

    def all(self) -> list[ModelRow]:
        """Return the models of every account, by name."""
        return self._select(order_by=[tables.models.c.name])


class FileTable:
    """The files announced for each model; the key is the pair (model, filename)."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def of_model(self, model: str) -> list[FileRow]:
        """Return the files of a model, sorted by name."""
        query = tables.files.select().where(tables.files.c.model == model).order_by(tables.files.c.filename)
        return [FileRow(**found) for found in self._connection.execute(query).mappings()]

    def get(self, model: str, filename: str) -> FileRow | None:
        found = self._connection.execute(tables.files.select().where(_is(model, filename))).mappings().first()
        return FileRow(**found) if found else None

    def put(self, row: FileRow) -> None:
        """Insert the row, or replace the row with the same model and file name."""
        self.delete(row.model, row.filename)
        self._connection.execute(tables.files.insert().values(asdict(row)))

    def delete(self, model: str, filename: str) -> bool:
        return self._connection.execute(tables.files.delete().where(_is(model, filename))).rowcount > 0


def _is(model: str, filename: str) -> sa.ColumnElement[bool]:
    return sa.and_(tables.files.c.model == model, tables.files.c.filename == filename)
