"""`server/doors/errors.py`: the envelope of an error, and what the router itself refuses."""

from __future__ import annotations

import pytest

from firectl.errors import ApiError, Code
from firectl.server.doors.errors import error_response, internal_error
from tests.server.process import Api, refusal


@pytest.mark.parametrize("path", ["/v2/accounts", "models/m:frobnicate", "models/m/files", "models/"])
def test_an_unknown_route_is_not_found_as_json(api: Api, path: str) -> None:
    said = api.refused("GET", path)
    assert (said.status, said.code) == (404, 5)
    assert said.message.startswith("no such route: GET /")


def test_a_method_that_a_path_does_not_take_is_405_with_those_it_does(api: Api) -> None:
    answer = api.call("PUT", "models", {})
    said = refusal(answer)
    assert (said.status, said.code) == (405, Code.UNIMPLEMENTED.number)
    assert said.message == "PUT /v1/accounts/acme/models is not known; the path takes GET, HEAD, POST"
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("path", ["/inference/v1/chat/completions", "/v1/completions", "/v1/models"])
def test_inference_paths_answer_in_openai_s_envelope(path: str) -> None:
    response = error_response(path, ApiError(Code.UNAUTHENTICATED, "no key", hint="log in"), "id")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert b'{"error":{"message":"no key (log in)"' in response.body


def test_other_paths_answer_with_code_details_and_request_id() -> None:
    response = error_response("/v1/accounts", ApiError(Code.NOT_FOUND, "gone", http_status=410), "id")
    assert response.status_code == 410
    assert response.body == b'{"code":5,"message":"gone","details":[],"request_id":"id"}'


def test_an_unexpected_exception_shows_its_type_and_logs_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    said = internal_error(KeyError("hunter2"), "0a1b")
    assert (said.code, said.message) == (Code.INTERNAL, "internal error: KeyError")
    assert said.hint == "logs/platform.log has the traceback, under request 0a1b"
    assert "KeyError: 'hunter2'" in caplog.text
    assert "0a1b" in caplog.text
