"""The command that lists the collection of a resource."""

from __future__ import annotations

import pytest

from firectl.cli.lookup.lists import list_command


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("accounts/acme/deployments/d", "firectl deployment list"),
        ("accounts/zoo/deployments/d", "firectl -a zoo deployment list"),
        ("accounts/acme/deployedModels/x", "firectl deployed-model list"),
        ("accounts/acme/models/m", "firectl model list, or for public ones firectl -a fireworks model list"),
        ("accounts/fireworks/models/m", "firectl -a fireworks model list"),
    ],
)
def test_another_account_is_named_and_public_models_are_offered(name: str, command: str) -> None:
    assert list_command(name, "acme") == command
