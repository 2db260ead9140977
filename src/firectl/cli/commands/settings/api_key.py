"""`firectl api-key`: the keys of a user."""

from __future__ import annotations

from typing import Any

from firectl.cli import in_flight
from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import argument, assume_yes, dry_run, listing, option
from firectl.cli.grammar.syntax import DOCUMENT, NounGroup
from firectl.cli.grammar.types import Moment, Named
from firectl.cli.views import tables

api_key = NounGroup("api-key", "API keys: make one, see which there are, revoke one.")

whose = option(
    "--user",
    "--service-account",
    "user",
    type=Named("user"),
    metavar="USER",
    help="Whose key; default: the account's only user.",
)


@api_key.verb()
@whose
@option("--display-name", "--key-name", "display_name", metavar="TEXT", help="What it is called (default).")
@option("--expire-time", type=Moment(), metavar="DATE", help="When it stops working: 2027-01-31, or with a time.")
@dry_run
@pass_app
def create(app: App, user: str | None, **given: Any) -> None:
    """Make an API key and print it, once: nobody can show it again. With -o name and -o flag it goes to stderr.

    $ firectl api-key create --display-name ci --expire-time 2030-01-31
    """
    from firectl.schemas.account import ApiKey

    owner = user or app.client.users.only()
    with app.leaving(in_flight.api_key(user)):
        made = app.client.api_keys.create(owner, ApiKey.model_validate(given))
        app.output.note("Keep the key now: it is not shown again")
        app.emit(made, tables.API_KEY)
    if app.output.format not in DOCUMENT:
        # These formats have no place for it, and there is no second chance.
        app.output.say(f"Key: {made.key}")


@api_key.verb("list")
@whose
@listing
@pass_app
def list_(app: App, user: str | None, **asked: Any) -> None:
    """List the API keys of a user, without the keys themselves.

    $ firectl api-key list
    """
    from firectl.cli.views.listing import show_list

    show_list(app, app.client.api_keys, tables.API_KEY, user=user or app.client.users.only(), **asked)


@api_key.verb()
@argument("key_id")
@whose
@assume_yes
@dry_run
@pass_app
def delete(app: App, key_id: str, user: str | None) -> None:
    """Revoke an API key, by its ID: whoever uses it is refused from then on.

    $ firectl api-key delete my-key-id --yes
    """
    owner = app.client.users.full_name(user) if user else app.client.users.only()
    app.confirm(f"Revoke the API key {key_id} of {owner}?")
    app.client.api_keys.revoke(owner, key_id)
    app.emit_deleted(f"Deleted {key_id}", lambda: {"key_id": key_id}, tables.API_KEY)
