"""What a chat request may say, and the shape of its answers."""

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
from tests.schemas.openai.bad_requests import BAD_CHAT, USER


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
    answer = chat_answer(("id", 5, "m"), [Choice(0, "é", "stop", (LOGPROB,))], Usage(3, 1))
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
    first = chat_chunk(("id", 5, "m"), Choice(1, "a"), first=True)
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"] == [
        {"index": 1, "delta": {"role": "assistant", "content": "a"}, "logprobs": None, "finish_reason": None}
    ]
    assert "usage" not in first
    last = chat_chunk(("id", 5, "m"), Choice(1, "", "length"), usage=Usage(1, 2))
    assert last["choices"] == [{"index": 1, "delta": {}, "logprobs": None, "finish_reason": "length"}]
    assert last["usage"]["total_tokens"] == 3
    assert chat_chunk(("id", 5, "m"), None, usage=Usage(1, 2))["choices"] == []
