"""`firectl whoami`: where commands go, and which file or variable said so."""

from __future__ import annotations

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.syntax import DOCUMENT, verb


@verb(formats=DOCUMENT)
@pass_app
def whoami(app: App) -> None:
    """Show the account and the server that commands go to, and where each setting came from.

    Asks the server, so that a key that does not work is found out here. The key itself is never shown.

    $ firectl whoami
    """
    from firectl.cli.settings.identity import identity

    app.emit(identity(app))
