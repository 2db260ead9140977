"""`server/doors/platform.py`: health, what the platform holds, and the parts of the API that it does not serve."""

from __future__ import annotations

import pytest

from firectl.errors import Code
from tests.server.process import Api, PlatformProcess, bare


def test_health_needs_no_key(platform: PlatformProcess) -> None:
    assert bare.get(f"{platform.url}/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "datasets"),
        ("POST", "datasets"),
        ("POST", "datasets/d:getUploadEndpoint"),
        ("POST", "supervisedFineTuningJobs"),
        ("GET", "batchInferenceJobs/b"),
        ("POST", "users"),
        ("PATCH", "users/owner"),
        ("GET", "secrets"),
        ("GET", "evaluators"),
        ("POST", "dpoJobs/x:resume"),
    ],
)
def test_what_the_api_has_and_this_platform_has_not_is_unimplemented(api: Api, method: str, path: str) -> None:
    said = api.refused(method, path, None if method == "GET" else {})
    assert (said.status, said.code) == (501, Code.UNIMPLEMENTED.number)
    assert said.message != ""


def test_inference_routes_that_are_not_served_are_unimplemented(api: Api) -> None:
    for path in ("/inference/v1/embeddings", "/v1/responses", "/inference/v1/audio/transcriptions"):
        answer = api.call("POST", path, {})
        assert answer.status_code == 501, path
        assert answer.json()["error" if path.startswith("/inference") else "code"]


def test_the_platform_tells_of_itself(platform: PlatformProcess, api: Api) -> None:
    said = api.ok("GET", "/v1/local")
    assert (said["url"], said["account"], said["pid"]) == (platform.url, "acme", platform.process.pid)
    assert said["replicas"]["max"] == 16
