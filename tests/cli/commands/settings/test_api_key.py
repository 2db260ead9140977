"""`firectl api-key`: whose key, what is sent, and that the secret is shown once and nowhere else."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api

USERS = "/v1/accounts/acme/users"
KEYS = f"{USERS}/ann/apiKeys"
SECRET = "fw_brandNEWbrandNEW"
ROW = {
    "keyId": "k1",
    "displayName": "ci",
    "prefix": "fw_bra",
    "createTime": "2026-01-02T03:04:05Z",
    "expireTime": "2027-01-31T00:00:00Z",
}


@pytest.fixture
def owned(api: Api) -> Api:
    """An account of one user, ann."""
    api.on("GET", USERS, {"users": [{"name": "accounts/acme/users/ann"}]})
    api.on("POST", KEYS, {**ROW, "key": SECRET})
    api.on("GET", KEYS, {"apiKeys": [ROW]})
    api.on("POST", f"{KEYS}:delete", {})
    return api


def test_create_prints_the_secret_once_and_says_so(cli: Cli, owned: Api) -> None:
    ran = cli("api-key", "create", "--display-name", "ci", "--expire-time", "2027-01-31", "--verbose")
    assert ran.code == 0
    assert ran.out == (
        "Key Id: k1\n"
        "Display Name: ci\n"
        "Prefix: fw_bra\n"
        "Create Time: 2026-01-02T03:04:05Z\n"
        "Expire Time: 2027-01-31T00:00:00Z\n"
        f"Key: {SECRET}\n"
    )
    assert ran.err.endswith("\nKeep the key now: it is not shown again\n")
    assert SECRET not in ran.err
    assert owned.changes[-1].json == {"apiKey": {"displayName": "ci", "expireTime": "2027-01-31T00:00:00Z"}}


def test_create_in_json_is_what_a_script_reads_the_key_from(cli: Cli, owned: Api) -> None:
    assert cli("create", "api-key", "-o", "json").json["key"] == SECRET
    assert cli("create", "api-key", "-o", "yaml").out.count(SECRET) == 1


def test_where_the_result_has_no_place_for_the_secret_it_is_on_stderr(cli: Cli, owned: Api) -> None:
    ran = cli("api-key", "create", "-o", "name")
    assert (ran.out, ran.err) == ("k1\n", f"Keep the key now: it is not shown again\nKey: {SECRET}\n")
    ran = cli("api-key", "create", "-o", "flag", "--quiet")
    assert (ran.out, ran.err) == ("--display-name ci --expire-time 2027-01-31T00:00:00Z\n", f"Key: {SECRET}\n")


def test_a_user_that_is_named_is_not_asked_for(cli: Cli, owned: Api) -> None:
    for flag in ("--user", "--service-account"):
        owned.on("POST", f"{USERS}/bot/apiKeys", {"keyId": "k2"})
        ran = cli("api-key", "create", flag, "bot", "--key-name", "Two words", "--dry-run")
        assert ran.json == {
            "method": "POST",
            "path": f"{USERS}/bot/apiKeys",
            "body": {"apiKey": {"displayName": "Two words"}},
        }
    assert owned.asked == []


def test_of_several_users_one_must_be_chosen(cli: Cli, owned: Api) -> None:
    rows = [{"name": f"accounts/acme/users/{user}"} for user in ("ann", "bot")]
    owned.on("GET", USERS, {"users": rows})
    ran = cli("api-key", "create")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "Error: accounts/acme has 2 users: ann, bot (code = InvalidArgument)\nHint: choose one: --user ann\n"
    )
    assert owned.changes == []


def test_list_shows_what_is_left_of_each_key(cli: Cli, owned: Api) -> None:
    ran = cli("api-key", "list")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "KEY ID  DISPLAY NAME  PREFIX  EMAIL  CREATE TIME           EXPIRE TIME\n"
        "k1      ci            fw_bra  -      2026-01-02T03:04:05Z  2027-01-31T00:00:00Z\n"
    )
    assert [row["key_id"] for row in cli("list", "api-keys", "-o", "json").json] == ["k1"]
    assert cli("api-key", "list", "--order-by", "create_time desc", "-o", "name").out == "k1\n"
    assert owned.query()["orderBy"] == "create_time desc"


def test_delete_sends_the_id_of_the_key(cli: Cli, owned: Api) -> None:
    ran = cli("api-key", "delete", "k1")
    assert (ran.code, ran.out, ran.err) == (0, "", "Deleted k1\n")
    assert owned.changes[-1].path == f"{KEYS}:delete"
    assert owned.changes[-1].json == {"keyId": "k1"}
    assert json.loads(cli("delete", "api-key", "k1", "-o", "json").out) == {"key_id": "k1"}


def test_a_lost_answer_to_create_is_not_sent_again_and_says_where_to_look(cli: Cli, owned: Api) -> None:
    from tests.client.script_server import RESET

    owned.on("POST", KEYS, RESET)
    ran = cli("api-key", "create")
    assert (ran.code, ran.out) == (7, "")
    assert ran.err.endswith("Hint: it may have been created: firectl api-key list --user accounts/acme/users/ann\n")
    assert len(owned.changes) == 1


@pytest.mark.parametrize("date", ["soon", "2027-13-01", "01/31/2027", ""])
def test_a_date_that_is_none_is_refused(cli: Cli, api: Api, date: str) -> None:
    ran = cli("api-key", "create", "--expire-time", date)
    assert (ran.code, api.asked) == (2, [])
    assert f"{date!r} is no date such as 2027-01-31 or 2027-01-31T12:00:00Z" in ran.err
