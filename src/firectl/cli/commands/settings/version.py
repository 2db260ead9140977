"""`firectl version`."""

from __future__ import annotations

from firectl._version import __version__
from firectl.cli.app import App
from firectl.cli.grammar.syntax import DOCUMENT, verb
from firectl.cli.output.output import View


@verb(formats=DOCUMENT)
def version(app: App) -> None:
    """Print the version.

    $ firectl version
    """
    app.emit({"version": __version__}, View(text=lambda document: [f"firectl {document['version']}"]))
