"""How is the database opened, and what is a transaction? Has the connections and their settings; no rules."""

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
"""More connections than threads that query at the same time, so that no thread waits for a connection."""
_BEGIN = "firectl_begin"
_WRITERS_LOCK = 0x66697265
"""Key of the PostgreSQL advisory lock that lets one transaction write at a time, as SQLite's BEGIN IMMEDIATE does."""


class Tx:
    """One transaction on all tables. Its writes are committed together or not at all."""

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
        """Return a table that is not an attribute of `Tx`: `tx.table(RouterTable).get(name)`."""
        return kind(self._connection)


class Store:
    """The platform's database. Safe to use from any thread; each `begin` and `read` has its own connection."""

    def __init__(self, url: str, admit: Callable[[Tx], None] | None = None) -> None:
        """Open the database and create missing tables.

        `url` is for SQLAlchemy: `sqlite:////path` or `postgresql+psycopg://…`.

        Upgrade a database of an older firectl; InputError for one of a newer firectl. `admit` may refuse the database:
        if it raises, the upgrade is rolled back.
        """
        self.version = 0
        """Changes with every commit of `begin`. While the number stays the same, earlier reads are still correct."""
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
        """Begin a transaction that may write. Only one may write at a time, so its reads stay true until it commits.

        Commit, durably, when the block ends; roll back when the block raises.
        """
        with self.note() as tx:
            yield tx
        self.version = next(self._versions)

    @contextmanager
    def note(self) -> Iterator[Tx]:
        """Like `begin`, but leave `version` unchanged: for data that no decision depends on, such as usage counts."""
        with self._transaction("IMMEDIATE") as connection:
            yield Tx(connection)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """Begin a transaction that only reads. It reads from one snapshot and never waits for a writer."""
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
    # FULL: a committed write must also survive a power cut. The cost is small, because the platform writes rarely.
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
    """Add missing columns to the tables. The caller has already created missing tables."""
    found = sa.inspect(connection)
    for table in tables.metadata.sorted_tables:
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                what = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f'ALTER TABLE "{table.name}" ADD COLUMN {what}')
