"""Settings of a person with nothing set up, and the tables of docs/configuration.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl import config

ROOT = Path(__file__).parents[2]


PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


KEY = "fw_0123456789abcdef"
AUTH_INI = """# my accounts
api_key = fw_old
  ; kept
other = 1

[local] ; the platform
api_key = fw_local
unknown = x

[staging]
api_key = fw_s
api_key = fw_s2
"""
"""A file with comments, three profiles, foreign settings and a key given twice."""


def rows_of(marker: str) -> list[list[str]]:
    """The cells of a table of docs/configuration.md."""
    table = PAGE.split(f"<!-- {marker} -->")[1].split("<!-- end -->")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a person with nothing set up."""
    return {"HOME": str(tmp_path)}


@pytest.fixture
def files(env: dict[str, str]) -> Path:
    """The folder of settings, there and empty."""
    return config.private_folder(config.home(env))
