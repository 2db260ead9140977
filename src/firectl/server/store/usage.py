"""Rows of usage: requests, errors and tokens of each deployment, model and period. SQL only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import sqlalchemy as sa

from firectl.server.store import tables
from firectl.server.store.rows import UsageRow

_COLUMNS = tables.usage.c
AMOUNTS = ("requests", "errors", "prompt_tokens", "generated_tokens")
_KEY = ("deployment", "model", "start", "length")


class UsageTable:
    """The usage table: requests, errors and tokens. The key is (deployment, model, start, length)."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, rows: Iterable[UsageRow]) -> None:
        """Add the counts of each row to the stored row with the same key; insert the row if there is none."""
        for row in rows:
            key = [_COLUMNS[name] == getattr(row, name) for name in _KEY]
            more = {name: _COLUMNS[name] + getattr(row, name) for name in AMOUNTS}
            changed = self._connection.execute(tables.usage.update().where(*key).values(more))
            if changed.rowcount == 0:
                self._connection.execute(tables.usage.insert().values(asdict(row)))

    def between(self, prefix: str, start: int, end: int) -> list[UsageRow]:
        """Return the rows with `start` <= start < `end` of deployments whose names begin with `prefix`, by start."""
        theirs = _COLUMNS.deployment.startswith(prefix, autoescape=True)
        within = sa.and_(_COLUMNS.start >= start, _COLUMNS.start < end)
        query = tables.usage.select().where(theirs, within).order_by(_COLUMNS.start)
        return [UsageRow(**found) for found in self._connection.execute(query).mappings()]

    def roll_up(self, length: int, into: int, before: int) -> None:
        """Combine rows of `length` seconds that begin before `before` into rows of `into` seconds."""
        old = sa.and_(_COLUMNS.length == length, _COLUMNS.start < before)
        # Not `//`: on some databases SQLAlchemy turns it into a true division and FLOOR.
        begin = _COLUMNS.start - _COLUMNS.start % into
        sums = [sa.func.sum(_COLUMNS[name]) for name in AMOUNTS]
        groups = (_COLUMNS.deployment, _COLUMNS.model, begin)
        found = self._connection.execute(sa.select(*groups, *sums).where(old).group_by(*groups)).all()
        for deployment, model, start, *amounts in found:
            # PostgreSQL returns the sum of bigints as a Decimal.
            added = dict(zip(AMOUNTS, map(int, amounts), strict=True))
            self.add([UsageRow(deployment=deployment, model=model, start=int(start), length=into, **added)])
        self._connection.execute(tables.usage.delete().where(old))

    def drop(self, before: int) -> None:
        """Delete rows that begin before `before`."""
        self._connection.execute(tables.usage.delete().where(_COLUMNS.start < before))
