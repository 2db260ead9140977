"""A database with one account, model, deployment and deployed model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firectl.server.store import Store
from tests.server.store.rows import fill


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'db.sqlite'}")
    fill(store)
    yield store
    store.close()
