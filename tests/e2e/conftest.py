"""One platform for the whole module, started and stopped as a person would, with the sample models on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firectl.samples import sample_path
from tests.e2e.shell import Shell

BASE = "accounts/fireworks/models/sample-llama"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in an empty FIREWORKS_HOME; whatever platform it starts is stopped at the end."""
    shell = Shell(tmp_path_factory.mktemp("home"))
    yield shell
    shell.firectl("local", "down")


@pytest.fixture(scope="module")
def platform(home: Shell) -> Shell:
    """A running platform with the sample base and its two adapters imported, nothing deployed."""
    home.ok("local", "up")
    home.enter()
    home.ok("-a", "fireworks", "model", "create", "sample-llama", str(sample_path("base")))
    for name in ("pirate", "poet"):
        home.ok("model", "create", f"sample-{name}", str(sample_path(name)), "--base-model", BASE)
    return home
