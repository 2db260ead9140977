"""Fetch and show a list: one page and a note about the next page, or all pages. Also name the command for a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.output.output import View
from firectl.names.nouns import BY_COLLECTION, NOUNS, Noun

if TYPE_CHECKING:
    from firectl.client.resource import Resource

PUBLIC_ACCOUNT = "fireworks"
LISTED: Mapping[str, Noun] = {noun.collection: noun for noun in NOUNS if noun.has_name and noun.has_list}
"""Collection → noun, for each noun that has a `list` command and whose resources have full names."""

_STATE = re.compile(r"""(?<![\w."'])state *= *["']?([\w-]+)""")
"""Matches `state = X` in a filter, but not `state != X`."""


def show_list(
    app: App, resource: Resource[Any], view: View, *, no_paginate: bool | None, **asked: Any
) -> Sequence[Any]:
    """Fetch and show rows, and return them. `asked`: arguments for the resource's list call; None means not given."""
    args = {name: value for name, value in asked.items() if value is not None}
    if no_paginate:
        rows, more = tuple(resource.list(**args)), None
    else:
        page = resource.list_page(**args)
        rows, more = page.rows, page
    app.emit(rows, view)
    if not rows:
        _say_unknown_state(app, resource.schema.states, str(args.get("filter") or ""))
    noun = BY_COLLECTION[resource.rows or resource.collection]
    if more is not None and more.next_page_token:
        total = f" of {more.total_size}" if more.total_size else ""
        app.output.note(f"{len(rows)}{total} shown; more with --page-token {more.next_page_token} or --no-paginate")
    elif noun.is_public and app.account != PUBLIC_ACCOUNT and (not rows or app.output.stdout.isatty()):
        app.output.note(f"Public ones are in another account: firectl -a {PUBLIC_ACCOUNT} {noun.word} list")
    return rows


def _say_unknown_state(app: App, known: Sequence[str], text: str) -> None:
    """Note each state in the filter `text` of an empty list that is not in `known`, and list the known states."""
    for state in _STATE.findall(text):
        if known and state not in known:
            app.output.note(f"Unknown state {state}; the known states are {', '.join(known)}")


def list_command(name: str, account: str | None) -> str:
    """Return the command that lists resources like `name` (a full name). `account`: the configured account."""
    _, where, collection, _ = name.split("/")[:4]
    noun = LISTED[collection]
    elsewhere = f" -a {where}" if where != account else ""
    public = f", or for public ones firectl -a {PUBLIC_ACCOUNT} {noun.word} list"
    return f"firectl{elsewhere} {noun.word} list" + (public if noun.is_public and where != PUBLIC_ACCOUNT else "")
