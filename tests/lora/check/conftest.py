"""A base that says its name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.lora.conftest import Make


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory, base: Make) -> Path:
    """A base that says what it is called."""
    folder = Path(shutil.copytree(base(), tmp_path_factory.mktemp("named") / "base"))
    config = json.loads((folder / "config.json").read_text()) | {"_name_or_path": "org/tiny"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
