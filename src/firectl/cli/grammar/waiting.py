"""Define the flags of commands that can wait: how long, and whether to send requests that prove that it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import click

from firectl.cli.app import App
from firectl.cli.grammar.params import switch, together
from firectl.cli.grammar.types import Seconds

F = TypeVar("F", bound=Callable[..., Any])


def _needs_wait(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    given = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
    app = ctx.find_object(App)
    if given and not ctx.params.get("wait") and app is not None and not ctx.resilient_parsing:
        # Only a warning, because existing scripts give --wait-timeout without --wait.
        app.output.warn("--wait-timeout has no effect without --wait")
    return value


class Waiting(NamedTuple):
    """Options of a wait. `seconds`: the longest wait. `probe`: then send requests to prove that they are answered."""

    seconds: float
    probe: bool


def _one_wait(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def with_wait(*args: Any, wait: bool | None, wait_timeout: float, no_probe: bool | None = None, **rest: Any) -> Any:
        return function(*args, wait=Waiting(wait_timeout, not no_probe) if wait else None, **rest)

    return with_wait


def waiting(default: str, *, probe: bool = False) -> Callable[[F], F]:
    """Add `--wait`, `--wait-timeout` and, if `probe`, `--no-probe`. The command gets `wait`: a Waiting or None."""
    extra = [switch("--no-probe", "Trust READY; do not send requests to prove that it serves.")] if probe else []
    return together(
        # is_eager makes click read --wait before --wait-timeout, in any order on the command line.
        switch("--wait", "Wait until it is done.", is_eager=True),
        click.option(
            "--wait-timeout",
            type=Seconds(),
            default=default,
            metavar="DURATION",
            help=f"The longest wait ({default}).",
            callback=_needs_wait,
        ),
        *extra,
        _one_wait,
    )
