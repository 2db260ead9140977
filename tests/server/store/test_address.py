"""A database URL is shown without its password, and says whether its file exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl.errors import InputError
from firectl.server.store.address import is_missing, on_a_server, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://me:hunter2@db/x?password=hunter2", "postgresql+psycopg://me:***@db/x"),
        ("sqlite:////tmp/a/../b.sqlite?timeout=5", "sqlite:////tmp/b.sqlite"),
    ],
)
def test_a_url_is_shown_without_password_and_query(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_a_relative_file_is_shown_with_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown("sqlite:///db.sqlite") == f"sqlite:///{tmp_path}/db.sqlite"


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("postgresql+psycopg://me:***@db/platform", "platform on db"),
        ("postgresql://db:5433/platform", "platform on db:5433"),
        ("postgresql:///platform", "platform"),
        ("sqlite:////tmp/b.sqlite", None),
        ("not a URL", None),
    ],
)
def test_a_database_on_a_server_is_named_in_words(database: str, said: str | None) -> None:
    assert on_a_server(database) == said


def test_only_an_sqlite_file_can_be_missing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite"
    assert is_missing(url)
    (tmp_path / "db.sqlite").touch()
    assert not is_missing(url)
    assert not is_missing("sqlite:///:memory:")
    assert not is_missing("sqlite:///file:/nowhere/db.sqlite?uri=true")


@pytest.mark.parametrize("url", ["hunter2", "nosuch://me:hunter2@db/x", "postgresql://me:hunter2@db:port/x"])
def test_a_malformed_url_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(InputError, match="the database URL cannot be read: expected one such as sqlite:") as error:
        shown(url)
    assert "hunter2" not in f"{error.value.message}{error.value.hint}"
    assert error.value.__cause__ is None
