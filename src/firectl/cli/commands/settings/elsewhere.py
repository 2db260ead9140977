"""Commands of the official tool that need a browser or an installer; here they say what to run instead."""

from __future__ import annotations

from firectl.cli.app import App
from firectl.cli.grammar.syntax import TEXT, verb
from firectl.errors import InputError


@verb(formats=TEXT, hidden=True)
def signin(app: App) -> None:
    """Sign in with a key: there is no browser flow here.

    $ firectl set-api-key - < key.txt
    """
    raise InputError(
        "there is no browser sign-in here: make an API key in the web console and keep it with set-api-key",
        hint="firectl set-api-key - < FILE",
    )


@verb(formats=TEXT, hidden=True)
def upgrade(app: App) -> None:
    """Print the command that upgrades firectl: pip does it.

    $ firectl upgrade
    """
    app.output.raw("pip install --upgrade firectl\n")
