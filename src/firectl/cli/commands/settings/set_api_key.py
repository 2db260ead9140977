"""`firectl set-api-key`: a key into the profile, so that it need not be on a command line again."""

from __future__ import annotations

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, dry_run
from firectl.cli.grammar.syntax import DOCUMENT, verb


@verb(formats=DOCUMENT)
@argument("key")
@dry_run
@pass_app
def set_api_key(app: App, key: str) -> None:
    """Keep an API key in the profile, in a file that only you can read. KEY - reads it from stdin.

    --account-id and --server, if given, are kept beside it.

    $ firectl set-api-key - < key.txt
    """
    from firectl.cli.settings.identity import keep_key, read_key

    app.emit(keep_key(app, read_key(app, key)))
