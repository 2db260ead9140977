"""`server/doors/call.py`: what a body and a query must be, and how a mistake in them is named."""

from __future__ import annotations

import pytest

from firectl.errors import Code
from tests.server.process import Api, Refusal


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"modelId": ', "the request body is not JSON: Expecting value at line 1 column 13"),
        (b'{\n "modelId": "m",\n}', "the request body is not JSON: Illegal trailing comma"),
        (b"\xff\xfe\xfa\xfb{", "the request body is not"),
        (b"[]", "the request body must be a JSON object, it is an array"),
        (b'"x"', "the request body must be a JSON object, it is a string"),
        (b"null", "the request body must be a JSON object, it is null"),
        (b'{"modelId": NaN}', "the request body is not JSON: NaN is not a JSON number"),
        (
            b'{"modelId": "\\ud800"}',
            "the request body has an unpaired surrogate: it is not valid Unicode text",
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


def test_deletes_scales_and_prepares_answer_an_empty_object(api: Api, base: str) -> None:
    deployment = api.parked(base)
    assert api.ok("PATCH", f"deployments/{deployment}:scale", {"replicaCount": 0}) == {}
    assert api.ok("DELETE", f"deployments/{deployment}") == {}
    assert api.at("fireworks").ok("POST", "models/tiny:prepare", {"precision": "BF16"}) == {}
    api.create_model("deleted-at-once")
    assert api.ok("DELETE", "models/deleted-at-once") == {}


@pytest.mark.parametrize("text", ["many", "1_0", " 1", "1.0", "2147483648", "-2147483648", "9" * 30])
def test_an_integer_in_the_query_that_is_none_is_named(api: Api, text: str) -> None:
    said = api.refused("GET", "deployments", pageSize=text)
    assert said == Refusal(400, 3, f"query parameter page_size: {text!r} is not an integer", None)
