"""Chat requests and answers: refusals name their parameter, and shapes are OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firectl.schemas.openai import (
    Choice,
    Message,
    ParamError,
    TokenLogprob,
    Usage,
    chat_answer,
    chat_chunk,
    parse_chat,
)

USER = [{"role": "user", "content": "hi"}]


# field(s) that make a good chat request bad → the parameter that the error names
BAD_CHAT: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 7}, "model"),
    ({"model": "m" * 513}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": [7]}, "messages.0"),
    ({"messages": [{"content": "hi"}]}, "messages.0.role"),
    ({"messages": [*USER, {"role": "wizard", "content": "hi"}]}, "messages.1.role"),
    ({"messages": [{"role": 7, "content": "hi"}]}, "messages.0.role"),
    ({"messages": [{"role": "tool", "content": "hi", "tool_call_id": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages.0.content.0.type",
    ),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}]}, "messages.0.content.0.x"),
    ({"messages": [{"role": "user", "content": "hi", "colour": "red"}]}, "messages.0.colour"),
    ({"messages": [{"role": "user", "content": "hi", "name": 7}]}, "messages.0.name"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}]}, "messages.0.tool_calls"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "warm"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"top_k": 1.5}, "top_k"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"n": "2"}, "n"),
    ({"seed": 1.5}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -5}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ({"presence_penalty": 2.5}, "presence_penalty"),
    ({"frequency_penalty": -2.5}, "frequency_penalty"),
    ({"stop": 7}, "stop"),
    ({"stop": ["a", ""]}, "stop.1"),
    ({"stop": ["a", 7]}, "stop.1"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"stream": True, "stream_options": {"colour": 1}}, "stream_options.colour"),
    ({"logprobs": 3}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": "text"}, "response_format"),
    ({"ignore_eos": "no"}, "ignore_eos"),
    ({"user": 7}, "user"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"context_length_exceeded_behavior": "shrug"}, "context_length_exceeded_behavior"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"min_p": 0.1}, "min_p"),
    ({"repetition_penalty": 1.1}, "repetition_penalty"),
    ({"prompt_cache_key": "k"}, "prompt_cache_key"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"echo": True}, "echo"),
    ({"store": True}, "store"),
    ({"reasoning_effort": "high"}, "reasoning_effort"),
    ({"temprature": 1}, "temprature"),
    ({"prompt": "hi"}, "prompt"),
    ({"deployedModel": "accounts/a/deployedModels/d"}, "deployedModel"),
    ({"deployed_model": None}, "deployed_model"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_CHAT, ids=lambda value: json.dumps(value)[:60])
def test_a_chat_request_that_is_wrong_is_refused_by_the_parameter_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ParamError) as refused:
        parse_chat({"model": "m", "messages": USER} | fields)
    assert refused.value.param == param
    assert refused.value.http_status == 400
    assert param.split(".")[-1] in refused.value.message


def test_text_parts_are_joined_and_a_developer_is_the_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": parts, "name": "ann"},
            {"role": "assistant", "content": "", "refusal": None, "tool_calls": []},
        ],
    }
    assert parse_chat(body).messages == (
        Message("system", "be brief"),
        Message("user", "ab", "ann"),
        Message("assistant", ""),
    )


LOGPROB = TokenLogprob("é", "é".encode(), -0.5, (("é", "é".encode(), -0.5), ("x", b"x", -1.0)))


def test_a_chat_answer_has_openais_shape() -> None:
    answer = chat_answer("id", 5, "m", [Choice(0, "é", "stop", (LOGPROB,))], Usage(3, 1))
    assert answer == {
        "id": "id",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "é", "refusal": None},
                "logprobs": {
                    "content": [
                        {
                            "token": "é",
                            "logprob": -0.5,
                            "bytes": [195, 169],
                            "top_logprobs": [
                                {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
                                {"token": "x", "logprob": -1.0, "bytes": [120]},
                            ],
                        }
                    ],
                    "refusal": None,
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }


def test_the_first_chunk_of_a_choice_names_the_role_and_the_last_its_end() -> None:
    first = chat_chunk("id", 5, "m", Choice(1, "a"), first=True)
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"] == [
        {"index": 1, "delta": {"role": "assistant", "content": "a"}, "logprobs": None, "finish_reason": None}
    ]
    assert "usage" not in first
    last = chat_chunk("id", 5, "m", Choice(1, "", "length"), usage=Usage(1, 2))
    assert last["choices"] == [{"index": 1, "delta": {}, "logprobs": None, "finish_reason": "length"}]
    assert last["usage"]["total_tokens"] == 3
    assert chat_chunk("id", 5, "m", None, usage=Usage(1, 2))["choices"] == []
