"""A folder with a file that goes in parts, and storage that states hashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.client.storage import Storage
from tests.client.transfer.interrupted import BIG


@pytest.fixture
def says_hashes(storage: Storage) -> None:
    """Storage that says what arrived, as Google's does, and gives ranges."""
    storage.says_hashes = True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "big").write_bytes(os.urandom(BIG))
    return made
