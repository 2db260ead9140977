"""Fetches and shows a list: one page with a note on the next, or every page. Which command lists a collection."""

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
"""The collections that a command lists by full name, and the noun of each."""

_STATE = re.compile(r"""(?<![\w."'])state *= *["']?([\w-]+)""")
"""A state that a filter requires, not one that it excludes."""


def show_list(
    app: App, resource: Resource[Any], view: View, *, no_paginate: bool | None, **asked: Any
) -> Sequence[Any]:
    """The rows that were shown. `asked` goes to the resource's list as it is; what is None was not asked."""
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
    """For an empty list whose filter asks for a state that no resource of the kind is known to have."""
    for state in _STATE.findall(text):
        if known and state not in known:
            app.output.note(f"Unknown state {state}; the known states are {', '.join(known)}")


def list_command(name: str, account: str | None) -> str:
    """The command that lists the collection of the resource `name`, a full name; `account` is the configured one."""
    _, where, collection, _ = name.split("/")[:4]
    noun = LISTED[collection]
    elsewhere = f" -a {where}" if where != account else ""
    public = f", or for public ones firectl -a {PUBLIC_ACCOUNT} {noun.word} list"
    return f"firectl{elsewhere} {noun.word} list" + (public if noun.is_public and where != PUBLIC_ACCOUNT else "")
