"""`firectl quickstart`: the tutorial on this machine, from import to answers."""

from __future__ import annotations

from firectl.cli.app import App
from firectl.cli.grammar.params import option, switch
from firectl.cli.grammar.syntax import DOCUMENT, verb
from firectl.cli.local import tour


@verb(formats=DOCUMENT)
@option("--question", default="Hello!", help="What to ask each of them (Hello!).")
@switch("--teardown", "Stop everything at the end.", default=None)
def quickstart(app: App, question: str, teardown: bool | None) -> None:
    """Run the whole tutorial on this machine with sample models: live merge, multi-LoRA, and a request to each.

    It uses a platform of its own, shows every command it runs, and is safe to run again.

    $ firectl quickstart
    """
    app.emit(tour.take(app, question, teardown=bool(teardown)), tour.SHOWN)
    for line in app.left_running:
        app.output.note(line)
