"""What both kinds of request have in common: sampling, refusals by the parameter's name, OpenAI's defaults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firectl.schemas.openai import (
    Message,
    ParamError,
    Sampling,
    parse_chat,
    parse_completion,
    parse_json,
)
from tests.schemas.openai.bad_requests import BAD_IN_BOTH, USER


@pytest.mark.parametrize(("fields", "param"), BAD_IN_BOTH, ids=lambda value: json.dumps(value)[:60])
def test_a_request_that_is_wrong_is_refused_by_the_parameter_name(fields: dict[str, Any], param: str) -> None:
    for parse, good in ((parse_chat, {"messages": USER}), (parse_completion, {"prompt": "hi"})):
        with pytest.raises(ParamError) as refused:
            parse({"model": "m"} | good | fields)
        assert refused.value.param == param
        assert refused.value.http_status == 400
        assert param.split(".")[-1] in refused.value.message


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(ParamError, match="the body must be a JSON object"):
        parse_chat(body)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_parameter_is_said_to_be_missing(missing: str) -> None:
    body: dict[str, Any] = {"model": "m", "messages": USER}
    del body[missing]
    with pytest.raises(ParamError, match=f"^{missing} is required$"):
        parse_chat(body)


def test_what_was_sent_is_shown_and_cut_when_long() -> None:
    with pytest.raises(ParamError) as refused:
        parse_chat({"model": "m", "messages": USER, "temperature": 3})
    assert refused.value.message == "temperature: input should be less than or equal to 2, got 3"
    with pytest.raises(ParamError) as refused:
        parse_chat({"model": "m", "messages": USER, "n": "x" * 5000})
    assert len(refused.value.message) < 150


def test_a_deployed_model_is_refused_with_what_to_send_instead() -> None:
    with pytest.raises(ParamError) as refused:
        parse_chat({"model": "m", "messages": USER, "deployedModel": "d"})
    assert "accounts/<account>/models/<model>#accounts/<account>/deployments/<deployment>" in str(refused.value.hint)


def test_defaults_are_openais() -> None:
    chat = parse_chat({"model": "m", "messages": USER})
    assert chat.sampling == Sampling(temperature=1.0, top_p=1.0, max_tokens=None)
    assert (chat.n, chat.stream, chat.include_usage) == (1, False, False)
    assert chat.messages == (Message("user", "hi"),)
    completion = parse_completion({"model": "m", "prompt": "hi"})
    assert completion.sampling == Sampling(max_tokens=16)
    assert completion.prompts == ("hi",)


def test_everything_that_is_done_is_read() -> None:
    chat = parse_chat(
        {
            "model": "m",
            "messages": USER,
            "temperature": 0,
            "top_p": 0.5,
            "top_k": 3,
            "n": 2,
            "seed": -1,
            "max_completion_tokens": 9,
            "stop": ["a", "b"],
            "logprobs": True,
            "top_logprobs": 4,
            "presence_penalty": 1,
            "frequency_penalty": -1.5,
            "ignore_eos": True,
            "response_format": {"type": "text"},
            "context_length_exceeded_behavior": "truncate",
            "user": "u",
            "metadata": {"a": "b"},
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    assert chat.sampling == Sampling(
        temperature=0,
        top_p=0.5,
        top_k=3,
        seed=-1,
        stop=("a", "b"),
        max_tokens=9,
        truncate_max_tokens=True,
        presence_penalty=1,
        frequency_penalty=-1.5,
        ignore_eos=True,
        top_logprobs=4,
    )
    assert (chat.n, chat.stream, chat.include_usage) == (2, True, True)


def test_parameters_that_ask_for_nothing_are_accepted() -> None:
    neutral: dict[str, Any] = {
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "logit_bias": {},
        "min_p": 0,
        "repetition_penalty": 1.0,
        "prompt_cache_key": "",
        "service_tier": "auto",
        "store": False,
        "functions": None,
        "echo": False,
        "reasoning_effort": None,
        "stop": None,
        "seed": None,
        "temperature": None,
        "max_tokens": None,
        "stream_options": None,
        "top_k": -1,
    }
    assert parse_chat({"model": "m", "messages": USER} | neutral).sampling == Sampling()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": Infinity}', "Infinity is not a JSON number"),
        (b'{"a": "\xff"}', "the body is not UTF-8: byte 7 is 0xff"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "the body is not JSON"),
    ],
    ids=["empty", "cut", "nan", "infinity", "utf-8", "surrogate", "deep", "long number"],
)
def test_a_body_that_is_no_json_text_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ParamError, match=reason):
        parse_json(raw)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_json(rb'{"a": "\ud83d\ude00"}') == {"a": "😀"}
