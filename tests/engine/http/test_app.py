"""The engine's protocol, spoken to a real process: answers, refusals, and the openai SDK.

Proves `engine/http/app.py`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.engine.process import EngineProcess

USER: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hello"}]


CHAT = {"model": "base", "messages": USER, "temperature": 0, "max_tokens": 12}


COMPLETION = {"model": "base", "prompt": "hello", "temperature": 0, "max_tokens": 12}


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return dict(body["error"])


def test_a_chat_is_answered_in_openais_shape(engine: EngineProcess) -> None:
    answer = engine.chat(max_tokens=12)
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "base"
    choice = answer["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "length"
    # <|bos|><|user|>hello<|assistant|>
    assert answer["usage"] == {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 20}


def test_the_same_seed_gives_the_same_answer_beside_other_requests(engine: EngineProcess) -> None:
    body = CHAT | {"temperature": 1, "seed": 11, "max_tokens": 20}
    alone = engine.post("/v1/chat/completions", body).json()["choices"]
    others: list[threading.Thread] = []
    for number in range(6):
        noise = CHAT | {"temperature": 1, "seed": number, "max_tokens": 60, "messages": USER * (number + 1)}
        others.append(threading.Thread(target=engine.post, args=("/v1/chat/completions", noise)))
        others[-1].start()
    assert engine.post("/v1/chat/completions", body).json()["choices"] == alone
    for other in others:
        other.join()
    assert engine.post("/v1/chat/completions", body | {"seed": 12}).json()["choices"] != alone


def test_an_answer_ends_before_its_stop_string(engine: EngineProcess) -> None:
    body = {"temperature": 1, "seed": 4, "max_tokens": 40, "ignore_eos": True}
    text = engine.complete(**body)["choices"][0]["text"]
    stop = text[5:7]
    answer = engine.complete(**body, stop=[stop, "never this"])
    assert answer["choices"][0]["text"] == text[: text.find(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < 40
    events = engine.stream("/v1/completions", COMPLETION | body | {"stop": stop})[:-1]
    assert "".join(chunk["choices"][0]["text"] for chunk in events) == text[: text.find(stop)]


def test_an_answer_ends_with_the_end_of_text_token_unless_it_is_ignored(engine: EngineProcess) -> None:
    # Of several random answers, some end by themselves.
    body: dict[str, Any] = {"temperature": 2, "max_tokens": 150, "n": 8, "seed": 1}
    ended = [choice for choice in engine.complete("hi", **body)["choices"] if choice["finish_reason"] == "stop"]
    assert ended
    assert all("<|eos|>" not in choice["text"] for choice in ended)
    endless = engine.complete("hi", **body, ignore_eos=True)["choices"]
    assert {choice["finish_reason"] for choice in endless} == {"length"}


def test_penalties_keep_a_token_from_coming_again(engine: EngineProcess) -> None:
    body = {"max_tokens": 60, "ignore_eos": True, "logprobs": 0}
    plain = engine.complete(**body)["choices"][0]["logprobs"]["tokens"]
    varied = engine.complete(**body, presence_penalty=2, frequency_penalty=2)["choices"][0]["logprobs"]["tokens"]
    assert len(set(varied)) > len(set(plain))


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": [{"role": "cook", "content": "x"}]}, "messages.0.role"),
        ("chat/completions", {"temperature": 9}, "temperature"),
        ("chat/completions", {"max_tokens": -1}, "max_tokens"),
        ("chat/completions", {"max_tokens": 505}, "max_tokens"),
        ("chat/completions", {"max_tokens": 10**12}, "max_tokens"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 600}]}, "messages"),
        ("chat/completions", {"response_format": {"type": "json_object"}}, "response_format"),
        ("chat/completions", {"tools": [{}]}, "tools"),
        ("chat/completions", {"wat": 1}, "wat"),
        ("chat/completions", {"deployedModel": "x"}, "deployedModel"),
        ("completions", {"prompt": ""}, "prompt"),
        ("completions", {"prompt": [264]}, "prompt"),
        ("completions", {"prompt": [10**12]}, "prompt"),
        ("completions", {"prompt": ["a", "x" * 512]}, "prompt.1"),
        ("completions", {"echo": True}, "echo"),
        ("completions", {"n": 33}, "n"),
    ],
)
def test_a_request_that_cannot_be_served_is_a_400_that_names_the_field(
    path: str, fields: dict[str, Any], param: str | None, engine: EngineProcess
) -> None:
    body = (CHAT if path.startswith("chat") else COMPLETION) | fields
    assert error(engine.post(f"/v1/{path}", body), 400)["param"] == param
    # A stream is refused too, before it starts.
    assert error(engine.post(f"/v1/{path}", body | {"stream": True}), 400)["param"] == param


def test_a_context_that_is_too_short_is_reported_with_numbers(engine: EngineProcess) -> None:
    found = error(engine.post("/v1/chat/completions", CHAT | {"max_tokens": 600}), 400)
    assert found["code"] == "context_length_exceeded"
    assert found["message"] == (
        "this model's maximum context length is 512 tokens, but the request needs 608: "
        "8 in the prompt and 600 to generate; max_tokens can be at most 504"
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not UTF-8"),
        (b'{"model": "base", "messages": [{"role": "user", "content": "\\udc00"}]}', "surrogate"),
        (b"[]", "the body must be a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_no_request_is_refused(raw: bytes, message: str, engine: EngineProcess) -> None:
    found = error(engine.http.post("/v1/chat/completions", content=raw), 400)
    assert message in found["message"]


def test_a_body_that_is_too_large_is_refused_and_the_engine_continues(engine: EngineProcess) -> None:
    try:
        answer = engine.http.post("/v1/chat/completions", content=b"x" * (17 * 2**20))
    except httpx.TransportError:
        pass  # it may hang up before all of it was sent
    else:
        assert error(answer, 413)["message"] == "the body is larger than 16 MiB"
    assert engine.chat()["choices"]


def test_unknown_models_routes_and_methods_are_reported(engine: EngineProcess) -> None:
    unknown = error(engine.post("/v1/chat/completions", CHAT | {"model": "other"}), 404)
    assert (unknown["param"], unknown["code"]) == ("model", "NOT_FOUND")
    error(engine.http.get("/v1/nothing"), 404)
    error(engine.http.get("/v1/chat/completions"), 405)


def test_models_lists_the_base(engine: EngineProcess, base: Path) -> None:
    listed = engine.http.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [(card["id"], card["root"], card["max_model_len"]) for card in listed["data"]] == [("base", str(base), 512)]


def test_a_full_queue_answers_429_with_retry_after(engine: EngineProcess) -> None:
    # 8 slots, and 24 places in the queue.
    with engine.http.stream("POST", "/v1/completions", json=LONG | {"n": 32}) as full:
        assert full.status_code == 200
        engine.wait_for(lambda: engine.metric("vllm:num_requests_running") == 8)
        assert engine.metric("vllm:num_requests_waiting") == 24
        assert 0 < engine.metric("vllm:kv_cache_usage_perc") <= 1
        refused = engine.post("/v1/completions", COMPLETION)
        found = error(refused, 429)
        assert found["code"] == "QUEUE_FULL"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    engine.wait_for(engine.idle)
    assert engine.post("/v1/completions", COMPLETION).status_code == 200


LONG = {"model": "base", "prompt": "hello", "max_tokens": 500, "ignore_eos": True, "stream": True}


def test_the_openai_sdk_reads_answers_streams_and_errors(engine: EngineProcess) -> None:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(model="base", messages=USER, temperature=0, max_tokens=12)
        stream = client.chat.completions.create(
            model="base",
            messages=USER,
            temperature=0,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage == whole.usage
        completion = client.completions.create(model="base", prompt="hello", max_tokens=4, logprobs=2)
        assert completion.choices[0].logprobs is not None
        assert [model.id for model in client.models.list()] == ["base"]
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="base", messages=[])
        assert refused.value.param == "messages"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=USER)
