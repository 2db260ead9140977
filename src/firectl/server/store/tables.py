"""Which tables and columns does the database have? A column for each field of the dataclasses in `rows`; no query.

Put the table and the row of a new kind of resource in a file of its own, `store/NAME.py`, not here or in `rows`.
Every reference is a full name: `account` is `accounts/a`, `model` is `accounts/a/models/m`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from firectl.schemas.base import Status, Wire
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model

SCHEMA_VERSION = 5
"""Increased with every change of an existing table. An older database gets the missing columns, so a new column must be
nullable or have a `server_default`. A newer database is refused. A new table needs no new version: `create_all` adds
it, and an older firectl ignores it."""


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite stores no zone: it is removed on writing and added on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware


class WireJson(sa.types.TypeDecorator[Wire]):
    """A column that stores a resource of one schema as the JSON of the API."""

    impl = sa.JSON
    cache_ok = True

    def __init__(self, schema: type[Wire]) -> None:
        super().__init__()
        self.schema = schema

    def process_bind_param(self, value: Wire | None, dialect: Dialect) -> dict[str, Any] | None:
        return None if value is None else value.to_wire()

    def process_result_value(self, value: Any, dialect: Dialect) -> Wire | None:
        return None if value is None else self.schema.model_validate(value)


metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.name"), nullable=False, index=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, sa.ForeignKey("users.name"), nullable=False, index=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.name"), nullable=False),
    sa.Column("sha256", sa.Text, nullable=False, unique=True),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("expire_time", UtcTime),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.name"), nullable=False, index=True),
    sa.Column("resource", WireJson(Model), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("base", sa.Text, index=True),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("content_hash", sa.Text),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("update_time", UtcTime, nullable=False),
    sa.Column("damage", WireJson(Status)),
    sa.Column("stamps", sa.JSON(none_as_null=True)),
    sa.Column("check_time", UtcTime),
)

files = sa.Table(
    "files",
    metadata,
    sa.Column("model", sa.Text, sa.ForeignKey("models.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("filename", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text),
    sa.Column("complete", sa.Boolean, nullable=False),
)

# No foreign key to models: a soft-deleted deployment may outlive its model.
deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.name"), nullable=False, index=True),
    sa.Column("resource", WireJson(Deployment), nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("status", WireJson(Status), nullable=False),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("base", sa.Text, nullable=False, index=True),
    sa.Column("desired_replicas", sa.Integer, nullable=False),
    sa.Column("served_folder", sa.Text),
    sa.Column("merge_record", sa.JSON(none_as_null=True)),
    sa.Column("last_request_time", UtcTime),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("update_time", UtcTime, nullable=False),
    sa.Column("delete_time", UtcTime),
    sa.Column("purge_time", UtcTime),
    sa.Column("woken_time", UtcTime),
    sa.Column("auto_deploy", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("taken_along", sa.JSON(none_as_null=True)),
    sa.Column("parity", sa.JSON),  # Earlier versions used it; not read or written now.
)

deployed_models = sa.Table(
    "deployed_models",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.name"), nullable=False, index=True),
    sa.Column("resource", WireJson(DeployedModel), nullable=False),
    sa.Column("model", sa.Text, sa.ForeignKey("models.name"), nullable=False, index=True),
    sa.Column("deployment", sa.Text, sa.ForeignKey("deployments.name"), nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("status", WireJson(Status), nullable=False),
    sa.Column("default", sa.Boolean, nullable=False),
    sa.Column("model_hash", sa.Text),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("update_time", UtcTime, nullable=False),
    sa.Column("parity", sa.JSON),  # Earlier versions used it; not read or written now.
)
# At most one default per model: the database refuses a second one even if a rule has a bug.
sa.Index(
    "one_default_per_model",
    deployed_models.c.model,
    unique=True,
    sqlite_where=deployed_models.c.default,
    postgresql_where=deployed_models.c.default,
)

# No foreign keys: the history outlives its deployment.
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("length", sa.Integer, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("generated_tokens", sa.BigInteger, nullable=False),
)
sa.Index("usage_by_time", usage.c.start)
