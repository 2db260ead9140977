"""`server/control/accounts/accounts.py`: accounts, users and API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.server.process import Api, PlatformProcess, Refusal, refusal

KEYS = "users/owner/apiKeys"


def test_a_key_sees_its_own_account_alone(api: Api) -> None:
    listed = api.ok("GET", "/v1/accounts")
    assert [account["name"] for account in listed["accounts"]] == ["accounts/acme"]
    assert listed["accounts"][0] == api.ok("GET", "/v1/accounts/acme")
    assert listed["totalSize"] == 1
    assert listed["accounts"][0]["state"] == "READY"


def test_the_public_account_is_there_though_it_is_not_listed(api: Api) -> None:
    assert api.ok("GET", "/v1/accounts/fireworks")["name"] == "accounts/fireworks"
    assert api.ok("GET", "/v1/accounts/fireworks/models")["models"] is not None


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/accounts/umbrella", None),
        ("GET", "/v1/accounts/umbrella/models", None),
        ("POST", "/v1/accounts/umbrella/models", {"modelId": "m", "model": {"baseModelDetails": {}}}),
        ("GET", "/v1/accounts/umbrella/models/m", None),
        ("GET", "/v1/accounts/umbrella/deployments/d", None),
        ("DELETE", "/v1/accounts/umbrella/deployments/d", None),
        ("GET", "/v1/accounts/umbrella/deployedModels", None),
        ("GET", "/v1/accounts/umbrella/deploymentShapes/-/versions", None),
        ("GET", "/v1/accounts/umbrella/users", None),
        ("GET", "/v1/accounts/umbrella/datasets", None),
    ],
)
def test_another_account_is_not_found(api: Api, method: str, path: str, body: object) -> None:
    assert api.refused(method, path, body) == Refusal(404, 5, "account accounts/umbrella not found", None)


def test_what_another_account_owns_is_not_found_when_it_is_referred_to(api: Api) -> None:
    said = api.refused("POST", "deployments", {"baseModel": "accounts/umbrella/models/m"})
    assert said == Refusal(404, 5, "model accounts/umbrella/models/m not found", None)


def test_the_account_has_one_user(api: Api) -> None:
    users = api.ok("GET", "users")["users"]
    assert [user["name"] for user in users] == ["accounts/acme/users/owner"]
    assert api.ok("GET", "users/owner") == users[0]
    assert api.refused("GET", "users/nobody") == Refusal(404, 5, "user accounts/acme/users/nobody not found", None)


@pytest.mark.parametrize(("method", "path"), [("POST", "users"), ("PATCH", "users/owner")])
def test_a_user_is_neither_made_nor_changed(api: Api, method: str, path: str) -> None:
    said = api.refused(method, path, {"user": {"displayName": "x"}})
    message = "the platform has one user, 'owner', who can create API keys for others"
    assert said == Refusal(501, 12, message, None)


def test_a_key_works_from_its_creation_to_its_deletion(platform: PlatformProcess, api: Api) -> None:
    made = api.ok("POST", KEYS, {"apiKey": {"displayName": "ci"}})
    assert made["key"].startswith(made["prefix"])
    assert made["displayName"] == "ci"
    theirs = httpx.Client(base_url=platform.url, headers={"authorization": f"Bearer {made['key']}"}, verify=False)
    for _ in range(2):
        assert theirs.get("/v1/accounts").status_code == 200
    listed = {key["keyId"]: key for key in api.ok("GET", KEYS)["apiKeys"]}
    assert listed[made["keyId"]] == {field: value for field, value in made.items() if field != "key"}
    assert api.ok("POST", f"{KEYS}:delete", {"keyId": made["keyId"]}) == {}
    assert refusal(theirs.get("/v1/accounts")).message == "the API key is not valid here"
    theirs.close()


def test_a_key_that_is_not_there_cannot_be_deleted(api: Api) -> None:
    said = api.refused("POST", f"{KEYS}:delete", {"keyId": "none"})
    assert said == Refusal(404, 5, "API key 'none' not found", None)


def test_the_platform_s_own_key_stays(api: Api) -> None:
    said = api.refused("POST", f"{KEYS}:delete", {"keyId": "platform"})
    assert (said.status, said.code) == (400, 9)
    assert api.ok("GET", "/v1/accounts")["totalSize"] == 1


def test_a_key_cannot_end_in_the_past(api: Api) -> None:
    past, later = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (-1, 3600))
    said = api.refused("POST", KEYS, {"apiKey": {"expireTime": past.isoformat()}})
    assert said == Refusal(400, 3, "expire_time must be in the future", None)
    made = api.ok("POST", KEYS, {"apiKey": {"expireTime": later.isoformat()}})
    assert datetime.fromisoformat(made["expireTime"]) == later
