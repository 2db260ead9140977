"""`server/app.py`: which paths the application has, and that it redirects none."""

from __future__ import annotations

import pytest

from tests.server.process import Api

COLLECTIONS = ["models", "deployments", "deployedModels", "deploymentShapes", "users", "users/owner/apiKeys"]


@pytest.mark.parametrize("path", [*COLLECTIONS, "/v1/accounts", "/v1/models", "/v1/local"])
def test_every_collection_has_its_door(api: Api, path: str) -> None:
    assert api.call("GET", path).status_code == 200


@pytest.mark.parametrize("path", ["models/", "deployments/", "/v1/accounts/", "/v1/local/"])
def test_a_path_with_a_trailing_slash_is_not_redirected(api: Api, path: str) -> None:
    for method, body in (("GET", None), ("POST", {})):
        answer = api.call(method, path, body)
        assert answer.status_code == 404
        assert "location" not in answer.headers
