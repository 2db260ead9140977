"""`cli/commands/settings/elsewhere.py`: commands that only say what to run instead."""

from __future__ import annotations

from tests.cli.conftest import Cli


def test_signin_says_how_to_use_a_key_and_upgrade_prints_the_command(cli: Cli) -> None:
    assert cli("signin").code == 2
    assert "Hint: firectl set-api-key - < FILE\n" in cli("signin").err
    assert (cli("upgrade").code, cli("upgrade").out) == (0, "pip install --upgrade firectl\n")
