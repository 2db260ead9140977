"""Models: created once, and the calls around their files (`client/model.py`). tests/client/transfer has the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from firectl import Client
from firectl.errors import NetworkError, ResourceFailed
from firectl.schemas.model import Model
from tests.client.clock import Clock
from tests.client.script_server import RESET, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]
MODEL = {"name": "accounts/acme/models/m", "state": "READY"}
EXISTS = answer(409, {"code": 6, "message": "it exists", "details": []})


def test_a_model_row_made_minutes_ago_by_a_slow_first_try_is_still_ours(serve: Serve, connect: Connect) -> None:
    made = {**MODEL, "kind": "HF_BASE_MODEL", "createTime": (datetime.now(UTC) - timedelta(minutes=2)).isoformat()}
    server = serve(RESET, EXISTS, answer(200, made))
    assert connect(server.url).models.create("m", Model(kind="HF_BASE_MODEL")).kind == "HF_BASE_MODEL"


def test_the_calls_around_a_transfer_say_sizes_and_names(serve: Serve, connect: Connect) -> None:
    urls = {"config.json": "https://storage.test/x"}
    server = serve(answer(200, {"filenameToSignedUrls": urls}))
    models = connect(server.url).models
    given = models.get_upload_endpoint("m", {"config.json": 7}, enable_resumable_upload=True)
    assert given.filename_to_signed_urls == urls == models.get_download_endpoint("m").filename_to_signed_urls
    models.validate_upload("m")
    assert [(request.method, request.path) for request in server.received] == [
        ("POST", "/v1/accounts/acme/models/m:getUploadEndpoint"),
        ("GET", "/v1/accounts/acme/models/m:getDownloadEndpoint"),
        ("GET", "/v1/accounts/acme/models/m:validateUpload"),
    ]
    assert server.received[0].json == {"filenameToSize": {"config.json": "7"}, "enableResumableUpload": True}


def test_a_model_without_files_to_download_is_an_unexpected_answer(serve: Serve, connect: Connect) -> None:
    with pytest.raises(NetworkError, match="expected the addresses of files, got none"):
        connect(serve(answer(200, {})).url).models.get_download_endpoint("m")


def test_preparing_and_verifying_are_posts(serve: Serve, connect: Connect) -> None:
    server = serve(answer(200, MODEL))
    models = connect(server.url).models
    models.prepare("m", "FP8")
    assert models.verify("m").state == "READY"
    assert [(request.path.rpartition("/")[2], request.body) for request in server.received] == [
        ("m:prepare", b'{"precision": "FP8"}'),
        ("m:verify", b"{}"),
    ]


def test_a_wait_ends_when_the_model_is_ready_or_has_failed(serve: Serve, connect: Connect, clock: Clock) -> None:
    validating = answer(200, {**MODEL, "state": "UPLOADING"})
    failed = answer(200, {**MODEL, "state": "FAILED", "status": {"code": "DATA_LOSS", "message": "a file is damaged"}})
    models = connect(serve(validating, answer(200, MODEL)).url).models
    assert models.wait("m", clock=clock, sleep=clock.sleep).state == "READY"
    with pytest.raises(ResourceFailed, match="models/m failed: a file is damaged"):
        connect(serve(validating, failed).url).models.wait("m", clock=clock, sleep=clock.sleep)
