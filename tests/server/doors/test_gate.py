"""What every route has in common: who may call, what a body must be, how an error looks."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from firectl.errors import Code
from tests.server.process import Api, PlatformProcess, Refusal, bare, refusal

NO_KEY = "no API key was sent: this server wants the header 'Authorization: Bearer <API key>'"


def test_health_needs_no_key(platform: PlatformProcess) -> None:
    assert bare.get(f"{platform.url}/health").json() == {"status": "ok"}


def test_answers_on_a_kept_connection_wait_for_no_acknowledgement(platform: PlatformProcess) -> None:
    took = []
    with httpx.Client(base_url=platform.url) as kept:
        for _ in range(30):
            started = time.perf_counter()
            assert kept.get("/health").status_code == 200
            took.append(time.perf_counter() - started)
    # A client's kernel lets one wait 40 ms once the connection is no longer new.
    assert min(took[-10:]) < 0.03


@pytest.mark.parametrize("path", ["/v1/accounts", "/v1/local", "/nowhere", "/"])
def test_all_else_without_a_key_is_unauthenticated(platform: PlatformProcess, path: str) -> None:
    answer = bare.get(platform.url + path)
    assert refusal(answer) == Refusal(401, Code.UNAUTHENTICATED.number, NO_KEY, None)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer", "Basic abc", "fw_abc"])
def test_a_header_that_carries_no_bearer_key_is_no_key(platform: PlatformProcess, header: str) -> None:
    answer = bare.get(f"{platform.url}/v1/accounts", headers={"authorization": header})
    assert refusal(answer) == Refusal(401, Code.UNAUTHENTICATED.number, NO_KEY, None)


@pytest.mark.parametrize("key", ["fw_wrong", "x" * 10_000])
def test_a_wrong_key_is_unauthenticated(platform: PlatformProcess, key: str) -> None:
    answer = bare.get(f"{platform.url}/v1/accounts", headers={"authorization": f"Bearer {key}"})
    said = refusal(answer)
    assert (said.status, said.code, said.message) == (401, 16, "the API key is not valid here")


def test_inference_says_it_in_openai_s_words(platform: PlatformProcess) -> None:
    answer = bare.post(f"{platform.url}/inference/v1/chat/completions", json={})
    assert answer.status_code == 401
    error = {"message": NO_KEY, "type": "invalid_request_error", "param": None, "code": "UNAUTHENTICATED"}
    assert answer.json() == {"error": error}


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


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"modelId": ', "the request body is not JSON: Expecting value at line 1 column 13"),
        (b'{\n "modelId": "m",\n}', "the request body is not JSON: Illegal trailing comma"),
        (b"\xff\xfe\xfa\xfb{", "the request body is not"),
        (b"[]", "the request body must be a JSON object, it is an array"),
        (b'"x"', "the request body must be a JSON object, it is a string"),
        (b"null", "the request body must be a JSON object, it is null"),
        (b'{"modelId": NaN}', "the request body is not JSON: NaN is no JSON number"),
        (
            b'{"modelId": "\\ud800"}',
            "the request body has half a surrogate pair: it is no Unicode text",
        ),
        (b'{"a":' * 100_000, "the request body is not JSON: nested too deeply"),
    ],
    ids=["cut", "comma", "bytes", "array", "string", "null", "nan", "surrogate", "deep"],
)
def test_a_body_that_is_no_json_object_is_refused_saying_where(api: Api, body: bytes, message: str) -> None:
    said = api.refused("POST", "models", body)
    assert (said.status, said.code) == (400, Code.INVALID_ARGUMENT.number)
    # The decoder's own words differ between versions of Python.
    assert said.message.startswith(message.replace("Illegal trailing comma", "")), said.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "request body: modelId is missing; model is missing"),
        ({"modelId": 3, "model": {}}, "request body: modelId: input should be a valid string, it is 3"),
        (
            {"modelId": "m", "model": {"peftDetails": {"r": "four"}}},
            "request body: model.peftDetails.r: input should be a valid integer, unable to parse string as an integer, "
            'it is "four"',
        ),
        (
            {"modelId": "m", "model": {"public": {"a": 1}}},
            'request body: model.public: input should be a valid boolean, it is {"a": 1}',
        ),
    ],
)
def test_a_field_of_the_wrong_type_is_named(api: Api, body: object, message: str) -> None:
    assert api.refused("POST", "models", body) == Refusal(400, 3, message, None)


def test_a_duration_that_is_none_is_named(api: Api) -> None:
    said = api.refused("POST", "deployments", {"autoscalingPolicy": {"scaleUpWindow": "5m"}})
    assert said.message == (
        "request body: autoscalingPolicy.scaleUpWindow: '5m' is not a duration such as 600s, it is \"5m\""
    )


def test_times_and_durations_out_of_range_are_named(api: Api) -> None:
    said = api.refused("POST", "deployments", {"autoscalingPolicy": {"scaleUpWindow": f"{'9' * 14}s"}})
    assert said.message.startswith("request body: autoscalingPolicy.scaleUpWindow: '99999999999999s' is too long for")
    said = api.refused("POST", "deployments", {"expireTime": "9999-12-31T23:59:59-23:59"})
    assert said.message.startswith("request body: expireTime: its UTC time is outside the years 1 to 9999")


def test_text_beyond_the_basic_plane_is_text(api: Api) -> None:
    body = b'{"modelId": "astral", "model": {"baseModelDetails": {}, "displayName": "\\ud83d\\ude00"}}'
    assert api.ok("POST", "models", body)["displayName"] == "\U0001f600"


def test_unknown_fields_are_ignored_and_either_case_is_read(api: Api) -> None:
    body = {"model_id": "either-case", "model": {"baseModelDetails": {}, "display_name": "Both", "frobs": {"x": [1]}}}
    made = api.ok("POST", "models", body)
    assert made["displayName"] == "Both"
    assert "frobs" not in made


@pytest.mark.parametrize("value", ["yes", "2", "tru"])
def test_a_boolean_in_the_query_that_is_none_is_named(api: Api, value: str) -> None:
    said = api.refused("GET", "deployments", showDeleted=value)
    assert said == Refusal(400, 3, f"query parameter show_deleted: {value!r} is neither true nor false", None)


def test_a_body_over_the_limit_is_refused_before_it_is_read(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port)) as connection:
        headers = f"Authorization: {api.http.headers['authorization']}\r\nContent-Length: {1 << 40}"
        connection.sendall(f"POST /v1/{api.account}/models HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_grows_over_the_limit_is_refused_on_the_way(api: Api) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    answer = api.http.post(f"/v1/{api.account}/models", content=endless())
    assert refusal(answer) == Refusal(413, 3, "the request body is larger than 32 MiB", None)


def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    ids = {
        api.call("GET", path).headers["x-request-id"] for path in ("/v1/accounts", "/health", "/nowhere", "models/no")
    }
    assert len(ids) == 4


def test_deletes_scales_and_prepares_answer_an_empty_object(api: Api, base: str) -> None:
    deployment = api.parked(base)
    assert api.ok("PATCH", f"deployments/{deployment}:scale", {"replicaCount": 0}) == {}
    assert api.ok("DELETE", f"deployments/{deployment}") == {}
    assert api.at("fireworks").ok("POST", "models/tiny:prepare", {"precision": "BF16"}) == {}
    api.create_model("deleted-at-once")
    assert api.ok("DELETE", "models/deleted-at-once") == {}


def test_the_platform_tells_of_itself(platform: PlatformProcess, api: Api) -> None:
    said = api.ok("GET", "/v1/local")
    assert (said["url"], said["account"], said["pid"]) == (platform.url, "acme", platform.process.pid)
    assert said["replicas"]["max"] == 16
