"""`firectl chat`: one message to a route."""

from __future__ import annotations

import click

from firectl.cli.app import App
from firectl.cli.grammar.params import argument, option
from firectl.cli.grammar.syntax import DOCUMENT, verb
from firectl.cli.grammar.types import Count, Named, Seconds
from firectl.cli.route import ask


@verb(formats=DOCUMENT)
@argument("target", type=Named("route"))
@argument("message", required=False)
@option("--system", help="The system message.")
@option("--temperature", type=click.FloatRange(min=0, max=2), metavar="N", help="0: always the likeliest token.")
@option("--max-tokens", type=Count(1), help="The longest answer, in tokens.")
@option("--wait-timeout", type=Seconds(), default="5m", help="The longest wait for a deployment to start (5m).")
def chat(
    app: App, target: str, message: str | None, system: str | None, wait_timeout: float, **sampling: float | None
) -> None:
    """Send one message to TARGET and print the answer as it comes.

    TARGET is a route: MODEL#DEPLOYMENT, a model or a deployment; short names are completed with the account. The
    command waits for a deployment that is starting or scaled to zero. MESSAGE - reads stdin, as does no MESSAGE when
    stdin is no terminal. -o json gives the raw answer.

    $ firectl chat my-lora#my-deployment 'Hello!'
    $ echo 'Hello!' | firectl chat my-lora - --temperature 0 -o json
    """
    asked = ask.request(ask.read_message(message), system, sampling)
    ask.answer(app, target, asked, wait_timeout)
