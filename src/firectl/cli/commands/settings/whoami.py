"""`firectl whoami`: where commands go, and where each setting comes from."""

from __future__ import annotations

from firectl.cli.app import App
from firectl.cli.grammar.syntax import DOCUMENT, verb
from firectl.cli.settings.identity import identity


@verb(formats=DOCUMENT)
def whoami(app: App) -> None:
    """Show the account and the server that commands go to, and where each setting came from.

    It asks the server, so a key that does not work fails here. The key is never shown.

    $ firectl whoami
    """
    app.emit(identity(app))
