"""What a completion request may say, and the shape of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firectl.schemas.openai import (
    Choice,
    ParamError,
    TokenLogprob,
    Usage,
    completion_answer,
    completion_chunk,
    parse_completion,
)
from tests.schemas.openai.bad_requests import BAD_COMPLETION


@pytest.mark.parametrize(("fields", "param"), BAD_COMPLETION, ids=lambda value: json.dumps(value)[:60])
def test_a_completion_request_that_is_wrong_is_refused_by_the_parameter_name(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(ParamError) as refused:
        parse_completion({"model": "m", "prompt": "hi"} | fields)
    assert refused.value.param == param


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


LOGPROB = TokenLogprob("é", "é".encode(), -0.5, (("é", "é".encode(), -0.5), ("x", b"x", -1.0)))


def test_a_completion_answer_has_openais_shape() -> None:
    answer = completion_answer(("id", 5, "m"), [Choice(0, "éé", "length", (LOGPROB, LOGPROB))], Usage(3, 2))
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
    chunk = completion_chunk(("id", 5, "m"), Choice(0, "é", None, (LOGPROB,)), text_offset=4)
    assert chunk["choices"][0]["logprobs"]["text_offset"] == [4]
