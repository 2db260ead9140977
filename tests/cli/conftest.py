"""The command line as a callable: what it printed and how it ended, exactly, without the developer's own settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cli.hosted import Api
from tests.cli.inside import run_inside
from tests.ran import Ran

KEY = "fw_SECRETsecretSECRET1234"


class Cli:
    """Runs firectl in this process with no terminal; `process` runs it in one of its own. `home` is FIREWORKS_HOME."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *argv: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Ran:
        return run_inside(argv, {**os.environ, **(env or {})}, stdin)

    def process(self, *argv: str, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 60) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "firectl", *argv],
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """No key, no account, nothing configured, and an empty home. The current folder holds nothing but that home."""
    for name in list(os.environ):
        if name.startswith(("FIREWORKS_", "FIRECTL_")) or name in ("NO_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    home = tmp_path / "fireworks-home"
    monkeypatch.setenv("FIREWORKS_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Cli(home)


@pytest.fixture
def api(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API that the command line is configured for, as account `acme`; it knows nothing until told."""
    server = Api()
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "acme")
    monkeypatch.setenv("FIREWORKS_BASE_URL", server.url)
    yield server
    server.server.close()
