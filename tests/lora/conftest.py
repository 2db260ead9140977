"""Bases and adapters that several tests of the room read; written once a session, never changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`base(**options)`: the folder that tiny.make_base writes for these options."""
    made: dict[str, Path] = {}

    def make(**options: Any) -> Path:
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            made[key] = tiny.make_base(tmp_path_factory.mktemp("base"), **options)
        return made[key]

    return make


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`adapter(base_folder, **options)`: the folder that tiny.make_adapter writes for these options."""
    made: dict[str, Path] = {}

    def make(base_folder: Path, **options: Any) -> Path:
        key = f"{base_folder} {json.dumps(options, sort_keys=True)}"
        if key not in made:
            made[key] = tiny.make_adapter(tmp_path_factory.mktemp("adapter"), base_folder, **options)
        return made[key]

    return make


@pytest.fixture
def good(base: Make, adapter: Make, tmp_path: Path) -> Path:
    """A copy of a sound adapter for `base()`, to be spoilt."""
    return Path(shutil.copytree(adapter(base()), tmp_path / "adapter"))
