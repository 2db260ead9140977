"""From a request to sequences: token ids, choices, and the limits of the context."""

from __future__ import annotations

from typing import Any

import pytest

from firectl.engine.http.prompts import chat_sequences, completion_sequences
from firectl.engine.schedule.sequence import Sequence
from firectl.schemas.openai import ParamError, parse_chat, parse_completion
from tests.engine.harness import Harness
from tests.engine.process import EngineProcess


def completion(harness: Harness, prompt: Any, **fields: Any) -> list[Sequence]:
    request = parse_completion({"model": "base", "prompt": prompt} | fields)
    return completion_sequences(harness.loaded, request, None)


def test_a_prompt_of_tokens_is_the_prompt_of_its_text(harness: Harness) -> None:
    [tokens], [text] = completion(harness, list(b"hello")), completion(harness, "hello")
    assert tokens.prompt == text.prompt == list(b"hello")


def test_every_prompt_has_its_choices_one_after_the_other(harness: Harness) -> None:
    sequences = completion(harness, ["one", "two"], n=2, seed=7)
    assert [sequence.prompt for sequence in sequences] == [list(b"one")] * 2 + [list(b"two")] * 2
    draws = [sequence.random.random() for sequence in sequences]
    assert draws[:2] == draws[2:]
    assert draws[0] != draws[1]


def test_a_chat_becomes_the_tokens_of_its_template(harness: Harness) -> None:
    request = parse_chat({"model": "base", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5})
    [sequence] = chat_sequences(harness.loaded, request, None)
    assert sequence.prompt == [256, 260, *b"hello", 261]
    assert sequence.max_tokens == 5


@pytest.mark.parametrize(
    ("prompt", "fields", "param", "message"),
    [
        ("", {}, "prompt", "prompt has no tokens"),
        ([264], {}, "prompt", "token id 264 is outside this model's vocabulary of 264"),
        (["a", "x" * 512], {}, "prompt.1", "maximum context length is 512 tokens, and the prompt alone has 512"),
        (
            "x" * 8,
            {"max_tokens": 600},
            "max_tokens",
            "needs 608: 8 in the prompt and 600 to generate",
        ),
    ],
)
def test_a_prompt_that_the_model_cannot_take_is_refused_by_name(
    prompt: Any, fields: dict[str, Any], param: str, message: str, harness: Harness
) -> None:
    with pytest.raises(ParamError) as refused:
        completion(harness, prompt, **fields)
    assert refused.value.param == param
    assert message in refused.value.message


def test_an_answer_is_shortened_to_the_context_only_when_asked(harness: Harness) -> None:
    fields = {"max_tokens": 600, "context_length_exceeded_behavior": "truncate"}
    assert completion(harness, "x" * 500, **fields)[0].max_tokens == 12
    assert completion(harness, "x" * 500, max_tokens=12)[0].max_tokens == 12


def test_without_a_limit_a_chat_may_fill_the_context(engine: EngineProcess) -> None:
    messages = [{"role": "user", "content": "x" * 489}]
    answer = engine.post("/v1/chat/completions", {"model": "base", "messages": messages, "ignore_eos": True}).json()
    assert answer["usage"] == {"prompt_tokens": 492, "completion_tokens": 20, "total_tokens": 512}
    assert answer["choices"][0]["finish_reason"] == "length"
    assert engine.complete(max_tokens=None)["usage"]["completion_tokens"] <= 16
