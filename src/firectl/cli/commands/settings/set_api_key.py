"""`firectl set-api-key`: store a key in the profile, to keep it off command lines."""

from __future__ import annotations

from firectl.cli.app import App
from firectl.cli.grammar.params import argument, dry_run
from firectl.cli.grammar.syntax import DOCUMENT, verb
from firectl.cli.settings.identity import keep_key, read_key


@verb(formats=DOCUMENT)
@argument("key")
@dry_run
def set_api_key(app: App, key: str) -> None:
    """Keep an API key in the profile, in a file that only you can read. KEY - reads it from stdin.

    --account-id and --server, if given, are stored with it.

    $ firectl set-api-key - < key.txt
    """
    app.emit(keep_key(app, read_key(app, key)))
