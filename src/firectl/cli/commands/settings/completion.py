"""`firectl completion`: what a shell needs to complete commands."""

from __future__ import annotations

import click

from firectl.cli.app import App
from firectl.cli.grammar.params import argument
from firectl.cli.grammar.syntax import TEXT, verb
from firectl.cli.tree import completion_source


@verb(formats=TEXT)
@argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(app: App, shell: str) -> None:
    """Print the code that makes a shell complete firectl's commands.

    $ eval "$(firectl completion bash)"
    """
    app.output.raw(completion_source(shell))
