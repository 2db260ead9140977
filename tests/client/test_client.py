"""The client as a whole: its resources, and what an import of it loads (`client/client.py`)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from firectl import Client
from firectl.client.account import ApiKeys
from firectl.client.deployment import Deployments
from firectl.client.inference import Inference
from firectl.errors import ApiError
from tests.client.script_server import Reply, ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]


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


def test_each_resource_is_made_on_first_use_and_kept(connect: Connect) -> None:
    client = connect("http://127.0.0.1:9")
    assert "deployments" not in vars(client)
    kinds = (type(client.deployments), type(client.api_keys), type(client.inference))
    assert kinds == (Deployments, ApiKeys, Inference)
    assert client.deployments is client.deployments
    for name in Client.__annotations__:
        getattr(client, name)
    with pytest.raises(AttributeError, match="has no attribute 'model'"):
        client.model  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("reply", "is_platform"),
    [
        (answer(200, {"replicas": []}), True),
        (answer(200, {"other": 1}), False),
        (answer(200, b"<html>"), False),
        (answer(404, {"code": 5, "message": "no"}), False),
        (answer(403, b""), False),
    ],
)
def test_a_platform_is_known_by_what_it_alone_has(
    serve: Serve, connect: Connect, reply: Reply, is_platform: bool
) -> None:
    assert connect(serve(reply).url).is_platform is is_platform


def test_a_server_in_trouble_does_not_say_whether_it_is_a_platform(serve: Serve, connect: Connect) -> None:
    with pytest.raises(ApiError):
        _ = connect(serve(answer(503, {"message": "busy"})).url).is_platform
