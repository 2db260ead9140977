from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.replicas.platform import Platform, running


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform of its own for the test, with the scripted engine."""
    with running(tmp_path / "local") as platform:
        yield platform
