"""Which platform does a database belong to? The platform's ID is a row of the table `meta`. SQL only."""

from __future__ import annotations

import sqlalchemy as sa

from firectl.server.store import tables

_KEY = "platform_id"


class Identity:
    """Reads and writes the platform's ID within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self) -> str | None:
        """Return the ID; None in a database that no platform has used yet."""
        query = sa.select(tables.meta.c.value).where(tables.meta.c.key == _KEY)
        found: str | None = self._connection.execute(query).scalar()
        return found

    def put(self, platform_id: str) -> None:
        """Write the ID into a database that has none; sqlalchemy.exc.IntegrityError if it already has one."""
        self._connection.execute(tables.meta.insert().values(key=_KEY, value=platform_id))
