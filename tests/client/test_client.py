"""Where requests go and with what: accounts, keys, proxies, pages, masks, dry runs."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
import respx

from firectl import Client
from firectl.client import DryRun
from firectl.errors import ApiError, Code, Exit, InputError, NetworkError
from firectl.schemas.deployment import AutoscalingPolicy, Deployment
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


def test_loopback_never_goes_through_a_proxy(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = serve(answer(200, {"name": "n"}))
    assert connect(server.url).models.get("m").name == "n"
    assert connect(server.url.replace("127.0.0.1", "localhost")).models.get("m").name == "n"
    with pytest.raises(NetworkError, match="the TLS handshake failed"):
        connect(server.url.replace("http:", "https:"), max_retries=0).models.get("m")


def test_https_elsewhere_goes_through_the_proxy_of_the_environment(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(answer(407, b""))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("https_proxy", proxy.url)
    with pytest.raises(NetworkError) as caught:
        connect("https://api.test", max_retries=0).models.get("m")
    assert caught.value.message == "cannot reach https://api.test: the proxy refused the connection"
    assert [(request.method, request.path) for request in proxy.received] == [("CONNECT", "api.test:443")]


def test_pages_follow_one_another_and_end(serve: Serve, connect: Connect) -> None:
    server = serve(
        answer(200, {"models": [{"name": "a"}, {"name": "b"}], "nextPageToken": "t 2", "totalSize": "3"}),
        answer(200, {"models": [{"name": "c"}], "nextPageToken": ""}),
    )
    listed = connect(server.url).models.list(filter='kind="HF_PEFT_ADDON"', order_by="create_time desc")
    assert [model.name for model in listed] == ["a", "b", "c"]
    first, second = (request.path for request in server.received)
    assert first == ("/v1/accounts/acme/models?pageSize=200&filter=kind%3D%22HF_PEFT_ADDON%22&orderBy=create_time+desc")
    assert second == f"{first}&pageToken=t+2"


def test_one_page_says_how_to_go_on(serve: Serve, connect: Connect) -> None:
    body = {"deployments": [{"name": "d"}], "nextPageToken": "t", "totalSize": 9}
    server = serve(answer(200, body))
    page = connect(server.url).deployments.list_page(page_size=1, show_deleted=True)
    assert ([row.name for row in page.rows], page.next_page_token, page.total_size) == (["d"], "t", 9)
    assert server.received[0].path == "/v1/accounts/acme/deployments?pageSize=1&showDeleted=true"


def test_an_empty_list_may_leave_the_list_out(serve: Serve, connect: Connect) -> None:
    assert list(connect(serve(answer(200, {})).url).models.list()) == []
    assert list(connect(serve(answer(200, {"models": None})).url).models.list()) == []


def test_pages_that_go_round_in_a_circle_end_in_an_error(serve: Serve, connect: Connect) -> None:
    page = answer(200, {"models": [{"name": "a"}], "nextPageToken": "t"})
    with pytest.raises(NetworkError, match="pagination repeats"):
        list(connect(serve(page).url).models.list())


def test_a_list_that_is_none_is_an_unexpected_answer(serve: Serve, connect: Connect) -> None:
    with pytest.raises(NetworkError, match="models is not a list") as caught:
        list(connect(serve(answer(200, {"models": "many"})).url).models.list())
    assert caught.value.exit_code is Exit.FAILED


def test_shape_versions_are_listed_of_one_shape_or_of_all(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"deploymentShapeVersions": [{"name": "v"}]}))
    versions = connect(server.url).deployment_shape_versions
    assert [row.name for row in versions.list()] == ["v"]
    assert [row.name for row in versions.list(shape="s1", account="other")] == ["v"]
    versions.get("accounts/fireworks/deploymentShapes/s1/versions/latest")
    with pytest.raises(InputError, match="expected SHAPE/versions/VERSION"):
        versions.get("s1")
    assert [request.path.partition("?")[0] for request in server.received] == [
        "/v1/accounts/acme/deploymentShapes/-/versions",
        "/v1/accounts/acme/deploymentShapes/s1/versions",
        "/v1/accounts/fireworks/deploymentShapes/s1/versions/latest",
    ]


def test_an_update_sends_the_fields_named_and_no_others(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"name": "accounts/acme/deployments/d"}))
    deployments = connect(server.url).deployments
    changed = Deployment(min_replica_count=0, enable_addons=False, autoscaling_policy=AutoscalingPolicy())
    deployments.update("d", changed, ["min_replica_count", "display_name", "autoscaling_policy.scale_up_window"])
    deployments.update("d", Deployment(enable_addons=False))
    windows = AutoscalingPolicy(scale_up_window=timedelta(seconds=30), load_targets={"default": 0.5})
    deployments.update("d", Deployment(display_name=None, autoscaling_policy=windows))
    named, implied, nested = server.received
    assert named.method == "PATCH"
    assert named.path == (
        "/v1/accounts/acme/deployments/d"
        "?updateMask=min_replica_count%2Cdisplay_name%2Cautoscaling_policy.scale_up_window"
    )
    assert named.json == {"minReplicaCount": 0, "autoscalingPolicy": {}}
    assert (implied.path, implied.json) == (
        "/v1/accounts/acme/deployments/d?updateMask=enable_addons",
        {"enableAddons": False},
    )
    assert nested.path.partition("=")[2].split("%2C") == [
        "autoscaling_policy.load_targets",
        "autoscaling_policy.scale_up_window",
        "display_name",
    ]
    assert nested.json == {"autoscalingPolicy": {"scaleUpWindow": "30s", "loadTargets": {"default": 0.5}}}


def test_a_create_has_its_id_in_the_query_and_the_deployment_as_its_body(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"name": "accounts/acme/deployments/d1"}))
    deployments = connect(server.url).deployments
    deployments.create(Deployment(base_model="b", max_replica_count=0), deployment_id="d1", validate_only=True)
    deployments.create(Deployment(base_model="b"))
    assert server.received[0].path == "/v1/accounts/acme/deployments?deploymentId=d1&validateOnly=true"
    assert server.received[0].json == {"baseModel": "b", "maxReplicaCount": 0}
    chosen = server.received[1].path.partition("deploymentId=")[2]
    assert len(chosen) == 8
    assert chosen.isalnum()


def test_deletes_and_scales_go_by_their_own_paths(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {}))
    client = connect(server.url)
    client.deployments.delete("d", hard=True, ignore_checks=False)
    client.deployments.scale("d", 0)
    client.models.prepare("m", "FP8")
    told = [(request.method, request.path, request.body) for request in server.received]
    assert told == [
        ("DELETE", "/v1/accounts/acme/deployments/d?hard=true&ignoreChecks=false", b""),
        ("PATCH", "/v1/accounts/acme/deployments/d:scale", b'{"replicaCount": 0}'),
        ("POST", "/v1/accounts/acme/models/m:prepare", b'{"precision": "FP8"}'),
    ]


def test_unloading_finds_the_row_and_says_when_there_is_none(serve: Serve, connect: Connect) -> None:
    row = {
        "name": "accounts/acme/deployedModels/x",
        "model": "accounts/acme/models/l",
        "deployment": "accounts/acme/deployments/d",
    }
    server = serve(answer(200, {"deployedModels": [row]}), answer(200, {}))
    client = connect(server.url)
    assert client.deployed_models.unload("l", "accounts/acme/deployments/d").name == row["name"]
    assert (server.received[1].method, server.received[1].path) == ("DELETE", "/v1/accounts/acme/deployedModels/x")
    with pytest.raises(ApiError) as caught:
        client.deployed_models.unload("l", "d")
    assert caught.value.code is Code.NOT_FOUND
    assert caught.value.message == "accounts/acme/models/l is not loaded on accounts/acme/deployments/d"


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


def test_a_transport_may_be_given(connect: Connect) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"name": str(request.url)}))
    client = connect("https://api.test", transport=transport)
    assert client.models.get("m").name == "https://api.test/v1/accounts/acme/models/m"


def test_a_closed_client_opens_again(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, {"name": "n"}))
    with connect(server.url) as client:
        assert client.models.get("m").name == "n"
    assert client.models.get("m").name == "n"


def test_importing_the_client_brings_no_terminal_and_no_torch_and_http_no_certificates() -> None:
    code = """
import sys, ssl
loaded = []
ssl.SSLContext.load_verify_locations = lambda *a, **k: loaded.append(a)
from firectl import Client
client = Client("key12345", "acme", "http://127.0.0.1:9", max_retries=0)
try:
    client.deployments.get("d")
except Exception as error:
    print(error)
heavy = {"click", "rich", "pygments", "torch", "numpy", "starlette", "sqlalchemy"}
print(sorted(heavy & set(sys.modules)), loaded)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "cannot reach http://127.0.0.1:9: connection refused\n[] []\n"
