"""Arguments and flags that several commands share, on a command of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from firectl.cli.app import App
from firectl.cli.grammar import params
from firectl.cli.grammar.syntax import Verb


def run(decorate: Callable[[Any], Any], *argv: str) -> tuple[App, dict[str, Any]]:
    """The App of a command with these flags, and the parameters that reached it."""
    app, given = App({}), {}
    click.command(cls=Verb)(decorate(lambda app, **values: given.update(values))).main(
        list(argv), standalone_mode=False, obj=app
    )
    return app, given


def test_a_switch_is_a_boolean_of_go_or_none() -> None:
    public = params.switch("--public", "Let others read it.", short="-P")
    assert [run(public, *argv)[1]["public"] for argv in ([], ["--public"], ["-P"], ["--public=false"])] == [
        None, True, True, False,
    ]  # fmt: skip


def test_dry_run_and_yes_reach_the_app_and_not_the_command() -> None:
    both = params.together(params.dry_run, params.assume_yes)
    app, given = run(both, "--dry-run", "--yes=false")
    assert (app.dry_run, app.yes, given) == (True, False, {})
    app, _ = run(both)
    assert (app.dry_run, app.yes) == (False, False)


def test_decorators_apply_in_the_order_written() -> None:
    command = click.command()(params.together(params.option("--a"), params.option("--b"))(lambda **_: None))
    assert [param.name for param in command.params] == ["a", "b"]


def test_the_flags_of_a_list_are_not_sent_unless_given() -> None:
    assert set(run(params.listing)[1].values()) == {None}
    given = run(params.listing, "--filter", "state = READY", "--page-size", "5", "--no-paginate")[1]
    assert given == {
        "filter": "state = READY", "order_by": None, "page_size": 5, "page_token": None, "no_paginate": True,
    }  # fmt: skip
