"""Find the caller's account and settings for `whoami`, and save an API key in a profile. Never shows a key."""

from __future__ import annotations

import sys
from typing import Any

from firectl.cli.app import App
from firectl.errors import InputError


def identity(app: App) -> dict[str, Any]:
    """Return account, server and profile, each with its source. Sends a request, so an invalid key is an error."""
    settings = app.settings
    account = app.client.account
    found = app.client.accounts.get(account)
    asked = settings.account_id.value is None
    name = {"display_name": found.display_name} if found.display_name else {}
    return {
        "account_id": account,
        **name,
        "server": settings.base_url.value,
        "profile": settings.profile.value,
        "sources": {
            "account_id": "the only account that the key can see" if asked else settings.account_id.source,
            "api_key": settings.api_key.source,
            "server": settings.base_url.source,
            "profile": settings.profile.source,
        },
    }


def read_key(app: App, given: str) -> str:
    """Return the key given, or the first line of stdin for `-`."""
    if given != "-":
        app.output.warn("a key on the command line can be seen by other users and stays in the shell's history: use -")
        return given
    key = sys.stdin.readline(4096).strip()
    if not key:
        raise InputError("no key: stdin is empty", hint="firectl set-api-key - < FILE")
    return key


def keep_key(app: App, key: str) -> dict[str, Any]:
    """Write the key, and the account and server given as flags, to the profile. The result names the file."""
    from firectl import config

    profile = config.chosen_profile(config.Flags(profile=app.flags.get("profile")), app.environ).value
    values = {"api_key": key, "account_id": app.flags.get("account_id"), "base_url": app.flags.get("server")}
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        config.check_value(name, value, f"profile {profile}")
    path = config.home(app.environ) / "auth.ini"
    if app.dry_run:
        app.output.note("Nothing was written.")
    else:
        path = config.write_profile(profile, given, app.environ)
    return {"profile": profile, "file": config.shown(path, app.environ), "set": sorted(given)}
