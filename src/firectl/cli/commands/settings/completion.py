"""`firectl completion`: what a shell needs to complete commands."""

from __future__ import annotations

import click

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument
from firectl.cli.grammar.syntax import TEXT, verb


@verb(formats=TEXT)
@argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_app
def completion(app: App, shell: str) -> None:
    """Print the code that makes a shell complete firectl's commands.

    $ eval "$(firectl completion bash)"
    """
    from firectl.cli.tree import completion_source

    app.output.raw(completion_source(shell))
