"""Define the arguments and flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from firectl.cli.app import App
from firectl.cli.grammar.types import Boolean, Count, PlainId

F = TypeVar("F", bound=Callable[..., Any])

argument = click.argument
option = click.option
new_id = PlainId


def switch(name: str, help: str, short: str | None = None, **settings: Any) -> Callable[[F], F]:
    """Define a Go-style boolean flag: `--public`, `--public=true` or `--public=false`. None if it is not given."""
    return click.option(*filter(None, (short, name)), type=Boolean(), help=help, **settings)


def together(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for one in reversed(decorators):
            function = one(function)
        return function

    return decorate


def _on_app(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        app = ctx.find_object(App)
        if app is not None and value is not None:
            setattr(app, name, bool(value))
        return value

    return keep


dry_run = switch(
    "--dry-run",
    "Show the request that would be sent, and change nothing.",
    expose_value=False,
    callback=_on_app("dry_run"),
)
"""Makes the client stop before the first request that changes something. Commands do not get it as a parameter."""

assume_yes = switch("--yes", "Do not ask for confirmation.", expose_value=False, callback=_on_app("yes"))


listing = together(
    click.option("--filter", metavar="EXPR", help="Only rows that match: 'state = READY' (AIP-160)."),
    click.option("--order-by", metavar="FIELDS", help="The order: 'create_time desc'."),
    click.option("--page-size", type=Count(1), metavar="N", help="Rows per page (50), at most 200."),
    click.option("--page-token", metavar="TOKEN", help="The token of the next page, from the page before."),
    switch("--no-paginate", "Fetch every page."),
)
"""Flags of every list command, as the parameters filter, order_by, page_size, page_token and no_paginate."""
