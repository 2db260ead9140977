"""`firectl account`: the accounts that the key can see."""

from __future__ import annotations

from typing import Any

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, listing
from firectl.cli.grammar.syntax import NAMED, NounGroup
from firectl.cli.grammar.types import Named
from firectl.cli.views import tables

account = NounGroup("account", "Accounts that the key can see.")


@account.verb(formats=NAMED)
@argument("account", type=Named("account"), required=False)
@pass_app
def get(app: App, account: str | None) -> None:
    """Show an account; without a name, the one that commands act in.

    $ firectl account get
    """
    app.emit(app.client.accounts.get(account or app.account), tables.ACCOUNT)


@account.verb("list", formats=NAMED)
@listing
@pass_app
def list_(app: App, **asked: Any) -> None:
    """List the accounts that the key can see.

    $ firectl account list
    """
    from firectl.cli.views.listing import show_list

    show_list(app, app.client.accounts, tables.ACCOUNT, **asked)
