"""An empty data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl.server.disk.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path / "local")
    paths.create()
    return paths
