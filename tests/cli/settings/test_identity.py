"""`whoami`, `account` and `set-api-key`: the caller's identity, and where a key is saved.

About `cli/settings/identity.py`.
"""

from __future__ import annotations

import os
import stat

import pytest

from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import Api
from tests.client.script_server import answer

ACCOUNT = {"name": "accounts/acme", "displayName": "Acme", "state": "READY"}


def test_whoami_says_where_each_setting_comes_from_and_not_the_key(cli: Cli, api: Api) -> None:
    api.on("GET", "/v1/accounts/acme", ACCOUNT)
    ran = cli("whoami")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "Account Id: acme\n"
        "Display Name: Acme\n"
        f"Server: {api.url}\n"
        "Profile: default\n"
        "Sources:\n"
        "  Account Id: FIREWORKS_ACCOUNT_ID\n"
        "  Api Key: FIREWORKS_API_KEY\n"
        "  Server: FIREWORKS_BASE_URL\n"
        "  Profile: default\n"
    )
    assert KEY not in ran.out
    assert cli("whoami", "-a", "acme", "-o", "json").json["sources"]["account_id"] == "--account-id"


def test_whoami_finds_out_that_a_key_does_not_work(cli: Cli, api: Api) -> None:
    api.on("GET", "/v1/accounts/acme", answer(401, {"code": 16, "message": "bad key"}))
    assert (cli("whoami").code, cli("whoami").out) == (4, "")


def test_the_only_account_is_found_and_of_more_one_must_be_chosen(
    cli: Cli, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    api.on("GET", "/v1/accounts/acme", ACCOUNT)
    api.on("GET", "/v1/accounts", {"accounts": [ACCOUNT]})
    assert cli("whoami", "-o", "json").json["sources"]["account_id"] == "the only account that the key can see"
    api.on("GET", "/v1/accounts", {"accounts": [ACCOUNT, {"name": "accounts/other"}]})
    ran = cli("deployment", "list")
    assert (ran.code, ran.out) == (2, "")
    assert "acme, other" in ran.err
    assert "--account-id acme" in ran.err


def test_accounts_are_shown_and_listed(cli: Cli, api: Api) -> None:
    api.on("GET", "/v1/accounts/acme", ACCOUNT)
    api.on("GET", "/v1/accounts", {"accounts": [ACCOUNT]})
    text = "Name: accounts/acme\nDisplay Name: Acme\nState: READY\n"
    assert cli("account", "get").out == text
    assert cli("account", "get", "accounts/acme").out == text
    assert cli("account", "list").out == "NAME           STATE  DISPLAY NAME\naccounts/acme  READY  Acme\n"
    assert cli("list", "accounts", "-o", "json").json == [
        {"name": "accounts/acme", "display_name": "Acme", "state": "READY"}
    ]


def test_a_key_from_stdin_is_kept_for_its_owner_alone_under_any_umask(cli: Cli, api: Api) -> None:
    before = os.umask(0)
    try:
        ran = cli("set-api-key", "-", stdin=f"{KEY}\n")
    finally:
        os.umask(before)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "Profile: default\nFile: ~/fireworks-home/auth.ini\nSet: api_key\n"
    file = cli.home / "auth.ini"
    assert file.read_text() == f"api_key = {KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cli.home.stat().st_mode) == 0o700


def test_a_key_on_the_command_line_warns_and_works(cli: Cli, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = cli("set-api-key", KEY, "-p", "work", "-a", "acme", "-s", api.url)
    assert ran.code == 0
    assert ran.err.startswith("Warning: a key on the command line can be seen by other users")
    assert KEY not in ran.out + ran.err
    for name in ("FIREWORKS_API_KEY", "FIREWORKS_ACCOUNT_ID", "FIREWORKS_BASE_URL"):
        monkeypatch.delenv(name)
    api.on("GET", "/v1/accounts/acme", ACCOUNT)
    shown = cli("whoami", "-p", "work", "-o", "json").json
    assert (shown["account_id"], shown["server"], shown["profile"]) == ("acme", api.url, "work")
    assert api.server.received[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(("key", "stdin"), [("-", ""), ("-", " \n"), ("two words", ""), ("-", "a\x00b\n")])
def test_a_malformed_key_is_refused_and_not_repeated(cli: Cli, key: str, stdin: str) -> None:
    ran = cli("set-api-key", key, stdin=stdin)
    assert (ran.code, ran.out) == (2, "")
    assert "two words" not in ran.err
    assert not (cli.home / "auth.ini").exists()


def test_a_dry_run_keeps_nothing(cli: Cli) -> None:
    ran = cli("set-api-key", "-", "--dry-run", stdin=KEY)
    assert (ran.code, ran.err) == (0, "Nothing was written.\n")
    assert not cli.home.exists()
