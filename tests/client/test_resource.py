"""What all resources have in common: pages, masks, answers of the wrong kind (`client/resource.py`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from firectl import Client
from firectl.errors import ApiError, Exit, NetworkError
from firectl.schemas.deployment import AutoscalingPolicy, Deployment
from firectl.schemas.model import Model
from tests.client.script_server import RESET, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]


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


def test_a_delete_whose_answer_is_lost_is_done_when_the_repeat_finds_nothing(serve: Serve, connect: Connect) -> None:
    missing = answer(404, {"code": 5, "message": "no such model"})
    server = serve(RESET, missing)
    connect(server.url).models.delete("m")
    assert [request.method for request in server.received] == ["DELETE", "DELETE"]
    with pytest.raises(ApiError, match="no such model"):
        connect(serve(missing).url).models.delete("m")


def fails(client: Client) -> ApiError:
    with pytest.raises(ApiError) as caught:
        client.models.get("m")
    return caught.value


@pytest.mark.parametrize("body", [{}, {"state": "READY"}])
def test_a_create_whose_answer_names_nothing_is_an_error_that_says_where_to_look(
    serve: Serve, connect: Connect, body: dict[str, Any]
) -> None:
    client = connect(serve(answer(200, body)).url)
    for create, noun in (
        (lambda: client.deployments.create(Deployment(), deployment_id="d"), "deployment"),
        (lambda: client.models.create("m", Model()), "model"),
        (lambda: client.deployed_models.load("m", "d"), "deployed-model"),
    ):
        with pytest.raises(NetworkError, match=r"unexpected answer to .*: expected one of ") as caught:
            create()
        assert caught.value.exit_code is Exit.FAILED
        assert caught.value.hint is not None
        assert caught.value.hint.startswith(f"it may have been created: firectl {noun} ")
    assert client.deployments.create(Deployment(), validate_only=True).name is None
    with pytest.raises(NetworkError, match="expected one of deployments"):
        client.deployments.undelete("d")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": 7}, "name: input should be a valid string"),
        ({"peftDetails": {"r": []}}, "peftDetails.r: input should be a valid integer"),
        ({"deployedModelRefs": [{"default": []}]}, "deployedModelRefs.0.default: input should be a valid boolean"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(serve: Serve, connect: Connect, body: dict[str, Any], said: str) -> None:
    error = fails(connect(serve(answer(200, body)).url))
    assert error.message == f"unexpected answer to /v1/accounts/acme/models/m: {said}"
    assert (type(error), error.exit_code) == (NetworkError, Exit.FAILED)
