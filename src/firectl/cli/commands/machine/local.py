"""`firectl local`: the platform on this machine."""

from __future__ import annotations

import click

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, option, switch, together
from firectl.cli.grammar.syntax import DOCUMENT, TEXT, NounGroup
from firectl.cli.grammar.types import Count

local = NounGroup("local", "The platform on this machine: the same API, really merging and really serving.")

starting = together(
    option(
        "--port", type=click.IntRange(1, 65535), metavar="N", help="Its port; default: the one it had, or a free one."
    ),
    option("--max-replicas", type=Count(), metavar="N", help="How many replicas may run, of all deployments (16)."),
    option("--threads", type=Count(1), metavar="N", help="Threads of each replica; default: half the cores."),
)


@local.verb(formats=DOCUMENT)
@starting
@pass_app
def up(app: App, port: int | None, **limits: int | None) -> None:
    """Start the platform in the background, and wait until it answers; does nothing if it runs already.

    $ firectl local up
    """
    from firectl.cli.local import commands

    app.emit(commands.up(app, port, limits))


@local.verb(formats=DOCUMENT)
@pass_app
def down(app: App) -> None:
    """Stop the platform and everything it runs; deployments come back with the next `up`.

    $ firectl local down
    """
    from firectl.cli.local import commands

    app.emit(commands.down(app))


@local.verb(formats=DOCUMENT)
@pass_app
def status(app: App) -> None:
    """Show whether the platform runs, and what it says of itself.

    $ firectl local status
    """
    from firectl.cli.local import commands

    app.emit(commands.status(app))


@local.verb(formats=TEXT)
@argument("replica", required=False)
@option("--lines", type=Count(), default=200, metavar="N", help="How many of the last lines (200).")
@switch("--follow", "Go on with what is added, until Ctrl-C.", short="-f")
@pass_app
def logs(app: App, replica: str | None, lines: int, follow: bool | None) -> int:
    """Print the end of the platform's log, or of the log of a REPLICA, named DEPLOYMENT-N.

    $ firectl local logs -f
    $ firectl local logs my-deployment
    """
    from firectl.cli.local import commands

    return commands.show_log(app, replica, lines, follow=bool(follow))


@local.verb(formats=DOCUMENT)
@pass_app
def df(app: App) -> None:
    """Show the disk space that the platform uses: models, merges, uploads, logs, and the trash.

    $ firectl local df
    """
    from firectl.cli.local import commands

    app.emit(commands.disk(app), commands.SIZES)


@local.verb(formats=DOCUMENT)
@pass_app
def prune(app: App) -> None:
    """Empty the trash: what a start found that no model owns. The platform may run or not.

    $ firectl local prune
    """
    from firectl.cli.local import commands

    app.emit(commands.prune(app), commands.SIZES)


@local.verb(formats=DOCUMENT)
@pass_app
def env(app: App) -> None:
    """Print the variables that send every SDK here, for a shell to read. They hold the platform's key.

    $ eval "$(firectl local env)"
    """
    from firectl.cli.local import commands

    app.emit(commands.variables(app), commands.EXPORTS)


@local.verb(formats=TEXT)
@starting
@pass_app
def serve(app: App, port: int | None, **limits: int | None) -> int:
    """Run the platform in the foreground until Ctrl-C.

    $ firectl local serve --port 8080
    """
    from firectl.cli.local import commands

    return commands.serve(app, port, limits)
