"""What a request may say: every refusal names its parameter, and every default is OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firectl.schemas.openai import (
    Choice,
    Message,
    ParamError,
    Sampling,
    TokenLogprob,
    Usage,
    chat_answer,
    chat_chunk,
    completion_answer,
    completion_chunk,
    parse_chat,
    parse_completion,
    parse_json,
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

BAD_COMPLETION: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": 7}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": {}}, "prompt"),
    ({"prompt": ["a", 7]}, "prompt.1"),
    ({"prompt": ["a", []]}, "prompt.1"),
    ({"prompt": [1, "a"]}, "prompt.1"),
    ({"prompt": [1, -1]}, "prompt.1"),
    ({"prompt": [[1, True]]}, "prompt.0.1"),
    ({"prompt": [True]}, "prompt.0"),
    ({"prompt": ["a"] * 129}, "prompt"),
    ({"prompt": ["a"] * 20, "n": 10}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"logprobs": 6}, "logprobs"),
    ({"logprobs": -1}, "logprobs"),
    ({"logprobs": "5"}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"echo": True}, "echo"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"messages": USER}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_CHAT, ids=lambda value: json.dumps(value)[:60])
def test_a_chat_request_that_is_wrong_is_refused_by_the_parameter_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ParamError) as refused:
        parse_chat({"model": "m", "messages": USER} | fields)
    assert refused.value.param == param
    assert refused.value.http_status == 400
    assert param.split(".")[-1] in refused.value.message


@pytest.mark.parametrize(("fields", "param"), BAD_COMPLETION, ids=lambda value: json.dumps(value)[:60])
def test_a_completion_request_that_is_wrong_is_refused_by_the_parameter_name(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(ParamError) as refused:
        parse_completion({"model": "m", "prompt": "hi"} | fields)
    assert refused.value.param == param


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


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["a", [3]], ("a", (3,))),
    ],
)
def test_a_prompt_is_text_or_tokens_or_a_list_of_them(prompt: Any, expected: tuple[Any, ...]) -> None:
    assert parse_completion({"model": "m", "prompt": prompt}).prompts == expected


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


def test_a_completion_answer_has_openais_shape() -> None:
    answer = completion_answer("id", 5, "m", [Choice(0, "éé", "length", (LOGPROB, LOGPROB))], Usage(3, 2))
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "text": "éé",
            "logprobs": {
                "tokens": ["é", "é"],
                "token_logprobs": [-0.5, -0.5],
                "top_logprobs": [{"é": -0.5, "x": -1.0}, {"é": -0.5, "x": -1.0}],
                "text_offset": [0, 1],
            },
            "finish_reason": "length",
        }
    ]
    chunk = completion_chunk("id", 5, "m", Choice(0, "é", None, (LOGPROB,)), text_offset=4)
    assert chunk["choices"][0]["logprobs"]["text_offset"] == [4]
