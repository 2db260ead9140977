"""`firectl local`: the platform on this machine."""

from __future__ import annotations

import click

from firectl.cli.app import App
from firectl.cli.grammar.params import argument, option, switch, together
from firectl.cli.grammar.syntax import DOCUMENT, TEXT, NounGroup
from firectl.cli.grammar.types import Count
from firectl.cli.local import commands

local = NounGroup("local", "The platform on this machine: the same API, with real merges and real serving.")

starting = together(
    option(
        "--port", type=click.IntRange(1, 65535), metavar="N", help="Its port; default: the one it had, or a free one."
    ),
    option("--max-replicas", type=Count(), help="How many replicas may run, of all deployments (16)."),
    option("--threads", type=Count(1), help="Threads of each replica; default: half the cores."),
)


@local.verb(formats=DOCUMENT)
@starting
def up(app: App, port: int | None, **limits: int | None) -> None:
    """Start the platform in the background and wait until it answers. If it runs already, do nothing.

    $ firectl local up
    """
    app.emit(commands.up(app, port, limits))


@local.verb(formats=DOCUMENT)
def down(app: App) -> None:
    """Stop the platform and everything it runs; deployments come back with the next `up`.

    $ firectl local down
    """
    app.emit(commands.down(app))


@local.verb(formats=DOCUMENT)
def status(app: App) -> None:
    """Show whether the platform runs, and its state.

    $ firectl local status
    """
    app.emit(commands.status(app))


@local.verb(formats=TEXT)
@argument("replica", required=False)
@option("--lines", type=Count(), default=200, help="How many of the last lines (200).")
@switch("--follow", "Print new lines as they come, until Ctrl-C.", short="-f")
def logs(app: App, replica: str | None, lines: int, follow: bool | None) -> int:
    """Print the end of the platform's log, or of the log of a REPLICA, named DEPLOYMENT-N.

    $ firectl local logs -f
    $ firectl local logs my-deployment
    """
    return commands.show_log(app, replica, lines, follow=bool(follow))


@local.verb(formats=DOCUMENT)
def df(app: App) -> None:
    """Show the disk space that the platform uses: models, merges, uploads, logs, and the trash.

    $ firectl local df
    """
    app.emit(commands.disk(app), commands.SIZES)


@local.verb(formats=DOCUMENT)
def prune(app: App) -> None:
    """Empty the trash: files that no model owned when the platform started. It need not run.

    $ firectl local prune
    """
    app.emit(commands.prune(app), commands.SIZES)


@local.verb(formats=DOCUMENT)
def env(app: App) -> None:
    """Print the environment variables that point SDKs at the platform, as shell code. They hold its key.

    $ eval "$(firectl local env)"
    """
    app.emit(commands.variables(app), commands.EXPORTS)


@local.verb(formats=TEXT)
@starting
def serve(app: App, port: int | None, **limits: int | None) -> int:
    """Run the platform in the foreground until Ctrl-C.

    $ firectl local serve --port 8080
    """
    return commands.serve(app, port, limits)
