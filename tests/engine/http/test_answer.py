"""Answers in one piece and as streams: the same text, log-probabilities and usage.

Proves `engine/http/answer.py` through a real process.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from openai.types.chat import ChatCompletionUserMessageParam

from tests.engine.process import EngineProcess
from tests.tiny import load_reference

USER: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hello"}]


CHAT = {"model": "base", "messages": USER, "temperature": 0, "max_tokens": 12}


COMPLETION = {"model": "base", "prompt": "hello", "temperature": 0, "max_tokens": 12}


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)])
def test_a_stream_says_what_the_whole_answer_says(path: str, body: dict[str, Any], engine: EngineProcess) -> None:
    whole = engine.post(path, body).json()
    events = engine.stream(path, body)
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert {(chunk["id"], chunk["model"]) for chunk in chunks} == {(chunks[0]["id"], "base")}
    if "chat" in path:
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text == whole["choices"][0]["message"]["content"]
        roles = [chunk["choices"][0]["delta"].get("role") for chunk in chunks]
        assert roles == ["assistant"] + [None] * (len(chunks) - 1)
    else:
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert len(chunks) > 3
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "length"
    assert chunks[-1]["usage"] == whole["usage"]


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(engine: EngineProcess) -> None:
    events = engine.stream("/v1/chat/completions", CHAT | {"stream_options": {"include_usage": True}})
    assert events[-2]["choices"] == []
    assert events[-2]["usage"] == {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 20}
    assert all("usage" not in chunk for chunk in events[:-2])


def test_no_chunk_holds_half_a_character(engine: EngineProcess) -> None:
    # The tiny model writes random bytes: invalid ones become U+FFFD, and characters stay whole.
    body = COMPLETION | {"temperature": 1.5, "seed": 3, "max_tokens": 200, "ignore_eos": True}
    whole = engine.post("/v1/completions", body).json()["choices"][0]["text"]
    events = engine.stream("/v1/completions", body)
    pieces = [chunk["choices"][0]["text"] for chunk in events[:-1]]
    assert "".join(pieces) == whole
    assert any(ord(letter) > 127 and letter != "\ufffd" for letter in whole), "no character of several bytes came up"


def test_several_prompts_and_choices_are_answered_in_order(engine: EngineProcess) -> None:
    answer = engine.complete(["one", "two"], n=2, temperature=1, seed=7)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    texts = [choice["text"] for choice in answer["choices"]]
    assert len(set(texts)) == 4
    assert texts[2] == engine.complete("two", temperature=1, seed=7)["choices"][0]["text"]
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 32, "total_tokens": 38}


def test_choices_of_a_stream_are_told_apart_by_their_index(engine: EngineProcess) -> None:
    body = CHAT | {"n": 3, "temperature": 1, "seed": 1}
    whole = engine.post("/v1/chat/completions", body).json()
    events = engine.stream("/v1/chat/completions", body)[:-1]
    texts = ["", "", ""]
    for chunk in events:
        choice = chunk["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert [chunk for chunk in events if "usage" in chunk] == [events[-1]]
    assert events[-1]["usage"]["completion_tokens"] == 36


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_the_first_token_is_sent_even_while_its_text_is_held_back(engine: EngineProcess, path: str) -> None:
    body = (CHAT if path.startswith("chat") else COMPLETION) | {"temperature": 1, "seed": 4, "ignore_eos": True}
    plain = engine.stream(f"/v1/{path}", body)[:-1]
    text = "".join(map(_text, plain))
    # The first character may be the start of this stop string, until the second comes.
    events = engine.stream(f"/v1/{path}", body | {"stop": text[0] + "never this"})[:-1]
    assert (_text(events[0]), events[0]["choices"][0]["finish_reason"]) == ("", None)
    assert "".join(map(_text, events)) == text


def _text(chunk: dict[str, Any]) -> str:
    choice = chunk["choices"][0]
    return str(choice["text"] if "text" in choice else choice["delta"].get("content", ""))


def test_logprobs_are_the_models_own(engine: EngineProcess, base: Path) -> None:
    answer = engine.chat(logprobs=True, top_logprobs=3, max_tokens=6, ignore_eos=True)
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == 6
    prompt = [256, 260, *b"hello", 261]
    generated = [_token(item["bytes"]) for item in content]
    with torch.no_grad():
        logits = load_reference(base)(input_ids=torch.tensor([prompt + generated])).logits[0]
    expected = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    for place, item in enumerate(content):
        assert item["logprob"] == pytest.approx(float(expected[place, generated[place]]), abs=1e-4)
        best = expected[place].topk(3)
        assert [_token(other["bytes"]) for other in item["top_logprobs"]] == best.indices.tolist()
        assert [other["logprob"] for other in item["top_logprobs"]] == pytest.approx(best.values.tolist(), abs=1e-4)
        # Greedy sampling picks the likeliest token.
        assert item["logprob"] == item["top_logprobs"][0]["logprob"]
    everything = engine.complete(logprobs=5, max_tokens=3, ignore_eos=True)["choices"][0]["logprobs"]
    assert [len(everything[key]) for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset")] == [3] * 4
    assert all(math.exp(value) <= 1 for value in everything["token_logprobs"])
    assert engine.chat()["choices"][0]["logprobs"] is None


def _token(data: list[int]) -> int:
    """The tiny tokenizer's id of a byte, or of a special token."""
    names = ["<|bos|>", "<|eos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|endoftext|>"]
    text = bytes(data).decode("latin-1")
    return 256 + names.index(text) if text in names else data[0]


def test_streamed_logprobs_are_those_of_the_whole_answer(engine: EngineProcess) -> None:
    body = COMPLETION | {"logprobs": 2, "ignore_eos": True}
    whole = engine.post("/v1/completions", body).json()["choices"][0]["logprobs"]
    chunks = [chunk["choices"][0]["logprobs"] for chunk in engine.stream("/v1/completions", body)[:-1]]
    assert [token for chunk in chunks for token in chunk["tokens"]] == whole["tokens"]
    streamed = [value for chunk in chunks for value in chunk["token_logprobs"]]
    assert streamed == pytest.approx(whole["token_logprobs"], abs=1e-5)
