"""Deployment shapes and their versions (`client/shape.py`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from firectl import Client
from firectl.errors import InputError
from tests.client.script_server import ScriptServer, answer

Serve = Callable[..., ScriptServer]
Connect = Callable[..., Client]


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
