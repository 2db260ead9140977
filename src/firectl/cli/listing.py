"""How a list is fetched and shown: one page with a pointer to the next, or every page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.output import View

if TYPE_CHECKING:
    from firectl.client.resource import Resource
    from firectl.schemas.base import Wire


def show_list(app: App, resource: Resource[Any], view: View, *, no_paginate: bool | None, **asked: Any) -> None:
    """`asked` goes to the resource's list as it is; what is None was not asked."""
    args = {name: value for name, value in asked.items() if value is not None}
    if no_paginate:
        app.emit(resource.list(**args), view)
        return
    page = resource.list_page(**args)
    rows: tuple[Wire, ...] = page.rows
    app.emit(rows, view)
    if page.next_page_token:
        total = f" of {page.total_size}" if page.total_size else ""
        app.output.note(f"{len(rows)}{total} shown; more with --page-token {page.next_page_token} or --no-paginate")
