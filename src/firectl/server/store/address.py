"""Which database does a URL name, and how is it shown without its password? Opens nothing."""

from __future__ import annotations

import os

import sqlalchemy as sa

from firectl.errors import InputError


def shown(url: str) -> str:
    """Return the URL for messages: the password is hidden, the query is removed, and a file path is absolute.

    InputError if the URL is malformed.
    """
    parsed = _parsed(url).set(query={})
    if _file(parsed):
        parsed = parsed.set(database=os.path.abspath(_file(parsed)))
    return parsed.render_as_string(hide_password=True)


def on_a_server(database: str) -> str | None:
    """Return "NAME on HOST" for a URL from `shown` that names a database on a server; None for an SQLite file."""
    try:
        parsed = sa.make_url(database)
    except (sa.exc.ArgumentError, ValueError):
        return None
    if _file(parsed):
        return None
    host = f" on {parsed.host}{f':{parsed.port}' if parsed.port else ''}" if parsed.host else ""
    return f"{parsed.database or parsed.username or parsed.get_backend_name()}{host}"


def is_missing(url: str) -> bool:
    """Whether the URL names an SQLite file that does not exist. Opening the database would create the file."""
    path = _file(_parsed(url))
    return path != "" and not os.path.exists(path)


def _file(parsed: sa.URL) -> str:
    """Return the path of the SQLite file; "" for any other database."""
    path = parsed.database or ""
    return "" if parsed.get_backend_name() != "sqlite" or path == ":memory:" or path.startswith("file:") else path


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        parsed.get_dialect()
        return parsed
    except (sa.exc.ArgumentError, ValueError):  # `from None`: the cause's text may hold a password
        message = "the database URL cannot be read: expected one such as sqlite:////path/to/platform.sqlite"
        raise InputError(message, hint="env -u FIRECTL_DATABASE_URL firectl local up") from None
