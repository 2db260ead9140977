"""How is the database opened, and what is a transaction? Connections and their settings; no query, no rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from firectl.errors import InputError
from firectl.server.store import tables
from firectl.server.store.accounts import AccountTable, ApiKeyTable, UserTable
from firectl.server.store.deployments import DeployedModelTable, DeploymentTable
from firectl.server.store.identity import Identity
from firectl.server.store.models import FileTable, ModelTable
from firectl.server.store.table import RowTable
from firectl.server.store.usage import UsageTable

T = TypeVar("T", bound=RowTable[Any])

BUSY_TIMEOUT_S = 30
_SPARE_CONNECTIONS = 64
"""More than the threads that query at the same time, so that none waits for a connection."""
_BEGIN = "firectl_begin"
_WRITERS_LOCK = 0x66697265
"""PostgreSQL advisory lock that makes writers take turns, as SQLite's BEGIN IMMEDIATE does."""


class Tx:
    """One transaction: a snapshot of all tables; its writes are committed together or not at all."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.identity = Identity(connection)
        self.accounts = AccountTable(connection)
        self.users = UserTable(connection)
        self.api_keys = ApiKeyTable(connection)
        self.models = ModelTable(connection)
        self.files = FileTable(connection)
        self.deployments = DeploymentTable(connection)
        self.deployed_models = DeployedModelTable(connection)
        self.usage = UsageTable(connection)

    def table(self, kind: type[T]) -> T:
        """The table of a noun that has no attribute here: `tx.table(RouterTable).get(name)`."""
        return kind(self._connection)


class Store:
    """The platform's database. Safe to use from any thread; each `begin` and `read` has its own connection."""

    def __init__(self, url: str, admit: Callable[[Tx], None] | None = None) -> None:
        """Open, and create missing tables. `url` is SQLAlchemy's: `sqlite:////path` or `postgresql+psycopg://…`.

        A database of an older version is upgraded; InputError for one of a newer firectl. An exception of `admit`
        refuses the database, and rolls back its upgrade.
        """
        self.version = 0
        """Changes with every commit of this process: what was read under the same number still holds."""
        self._versions = itertools.count(1)
        self._engine = sa.create_engine(url, max_overflow=_SPARE_CONNECTIONS)
        self._sqlite = self._engine.dialect.name == "sqlite"
        if self._sqlite:
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        try:
            with self._transaction("IMMEDIATE") as connection:
                tables.metadata.create_all(connection)
                _upgrade(connection)
                if admit is not None:
                    admit(Tx(connection))
        except BaseException:
            self.close()
            raise

    @contextmanager
    def begin(self) -> Iterator[Tx]:
        """A transaction that may write. Writers take turns, so what was read in it still holds when it commits.

        Commits when the block ends, durably; rolls back when it raises.
        """
        with self.note() as tx:
            yield tx
        self.version = next(self._versions)

    @contextmanager
    def note(self) -> Iterator[Tx]:
        """Like `begin`, for data that no decision depends on (how much was served, and when): keeps `version`."""
        with self._transaction("IMMEDIATE") as connection:
            yield Tx(connection)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A transaction that only reads, from one snapshot, and never waits for a writer."""
        with self._transaction("DEFERRED") as connection:
            yield Tx(connection)

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            connection = connection.execution_options(**{_BEGIN: kind})
            if not self._sqlite and kind == "DEFERRED":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                if not self._sqlite and kind == "IMMEDIATE":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITERS_LOCK)))
                yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # otherwise the driver begins transactions itself, too late
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL: an acknowledged write must survive a power cut too, and a control plane writes rarely.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")


def _upgrade(connection: sa.Connection) -> None:
    key = tables.meta.c.key == "schema_version"
    version = connection.execute(sa.select(tables.meta.c.value).where(key)).scalar()
    if version is None:
        connection.execute(tables.meta.insert().values(key="schema_version", value=str(tables.SCHEMA_VERSION)))
        return
    if version == str(tables.SCHEMA_VERSION):
        return
    if not version.isdecimal() or int(version) > tables.SCHEMA_VERSION:
        raise InputError(
            f"the platform's database has schema version {version}, this firectl needs {tables.SCHEMA_VERSION}",
            hint="use the firectl that created it, or move the database away and import the models again",
        )
    _add_columns(connection)
    connection.execute(tables.meta.update().where(key).values(value=str(tables.SCHEMA_VERSION)))


def _add_columns(connection: sa.Connection) -> None:
    """Add the missing columns to the existing tables. Missing tables have been created before."""
    found = sa.inspect(connection)
    for table in tables.metadata.sorted_tables:
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                what = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f'ALTER TABLE "{table.name}" ADD COLUMN {what}')
