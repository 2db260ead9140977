"""Where requests go and with what: account, key, base URL, dry runs (`client/api.py`)."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest
import respx

from firectl import Client
from firectl.client import DryRun
from firectl.errors import ApiError, Exit, InputError
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from tests.client.script_server import KEY, Received, Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]
HOSTED = "https://api.fireworks.ai"


def test_the_hosted_api_is_asked_with_the_key(connect: Connect) -> None:
    with respx.mock as hosted:
        route = hosted.get(f"{HOSTED}/v1/accounts/acme/models/m").respond(json={"name": "accounts/acme/models/m"})
        assert connect(HOSTED).models.get("m").name == "accounts/acme/models/m"
        sent = route.calls.last.request.headers
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["accept"] == "application/json"
    assert sent["user-agent"].startswith("firectl/")


def test_names_of_other_accounts_go_where_they_say(connect: Connect) -> None:
    with respx.mock as hosted:
        hosted.get(f"{HOSTED}/v1/accounts/fireworks/models/base").respond(json={"state": "READY"})
        assert connect(HOSTED).models.get("accounts/fireworks/models/base").state == "READY"


def test_the_only_account_of_a_key_is_found_and_asked_for_once(serve: Serve, connect: Connect) -> None:
    def script(request: Received) -> Reply:
        if request.path == "/v1/accounts":
            return answer(200, {"accounts": [{"name": "accounts/solo"}]})
        return answer(200, {"name": request.path.removeprefix("/v1/")})

    server = serve(script)
    client = connect(server.url, account_id=None)
    assert client.models.get("m").name == "accounts/solo/models/m"
    assert client.deployments.get("d").name == "accounts/solo/deployments/d"
    assert [request.path for request in server.received].count("/v1/accounts") == 1


def test_several_accounts_are_named(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"accounts": [{"name": "accounts/a"}, {"name": "accounts/b"}]}))
    with pytest.raises(InputError) as caught:
        connect(server.url, account_id=None).models.get("m")
    assert caught.value.message == "the key can see 2 accounts: a, b"
    assert caught.value.exit_code is Exit.USAGE


def test_a_malformed_name_is_refused_before_anything_is_sent(serve: Serve, connect: Connect) -> None:
    server = serve(answer(500))
    client = connect(server.url, account_id=None)
    for name in ("My-Model", "accounts/acme/deployments/d", "m/../x", "", "a" * 64):
        with pytest.raises(InputError):
            client.models.get(name)
    assert server.received == []


def test_without_a_key_nothing_is_sent(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200))
    with pytest.raises(InputError, match="no API key"):
        connect(server.url, api_key=None).models.get("m")
    assert server.received == []


@pytest.mark.parametrize("key", ["fw_secret1\nX-Evil: 1", "fw secret1", "fw_sécret1", "fw_secret1\x7f"])
def test_a_key_that_cannot_be_a_header_is_refused_and_not_shown(connect: Connect, key: str) -> None:
    with pytest.raises(InputError) as caught:
        connect("http://127.0.0.1:9", api_key=key)
    assert "cret1" not in "".join(traceback.format_exception(caught.value, limit=-1)).split("InputError")[-1]


def test_the_key_shows_nowhere(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(answer(500, {"message": "broken"}))
    seen: list[object] = []
    client = connect(server.url, on_response=seen.append)
    with pytest.raises(ApiError) as caught:
        client.models.create("m", Model(kind="HF_BASE_MODEL"))
    shown = [repr(client), str(client), repr(client.sender), repr(seen), caplog.text]
    shown += traceback.format_exception(caught.value)
    assert KEY in server.received[0].headers["authorization"]
    assert [text for text in shown if KEY in text] == []


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://user:pass@host", "http://[::1"])
def test_a_base_url_that_is_none_is_refused(connect: Connect, url: str) -> None:
    with pytest.raises(InputError) as caught:
        connect(url)
    assert "pass" not in caught.value.message.replace("password", "")


def test_a_dry_run_reads_but_shows_what_it_would_change(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"name": "n"}))
    client = connect(server.url, dry_run=True)
    assert client.models.get("m").name == "n"
    with pytest.raises(DryRun) as caught:
        client.deployments.create(Deployment(base_model="b"), deployment_id="d1", skip_shape_validation=True)
    request = caught.value.request
    assert (request.method, request.path) == ("POST", "/v1/accounts/acme/deployments")
    assert (request.query, request.body) == ({"deploymentId": "d1", "skipShapeValidation": "true"}, {"baseModel": "b"})
    for change in (
        lambda: client.deployments.delete("d"),
        lambda: client.deployments.scale("d", 1),
        lambda: client.models.validate_upload("m"),
        lambda: client.deployed_models.load("m", "d"),
    ):
        with pytest.raises(DryRun):
            change()
    assert [request.method for request in server.received] == ["GET"]
