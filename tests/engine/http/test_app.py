"""The engine's protocol, spoken to a real process: answers, streams, refusals, and clients that leave."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from openai.types.chat import ChatCompletionUserMessageParam

from tests.engine.leaving import leaving
from tests.engine.process import EngineProcess
from tests.tiny import load_reference

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
    # The tiny model writes random bytes: what is no character becomes U+FFFD, and what is one stays whole.
    body = COMPLETION | {"temperature": 1.5, "seed": 3, "max_tokens": 200, "ignore_eos": True}
    whole = engine.post("/v1/completions", body).json()["choices"][0]["text"]
    events = engine.stream("/v1/completions", body)
    pieces = [chunk["choices"][0]["text"] for chunk in events[:-1]]
    assert "".join(pieces) == whole
    assert any(ord(letter) > 127 and letter != "\ufffd" for letter in whole), "no character of several bytes came up"


def test_a_prompt_of_tokens_is_the_prompt_of_its_text(engine: EngineProcess) -> None:
    assert engine.complete(list(b"hello"))["choices"] == engine.complete("hello")["choices"]


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


def test_the_same_seed_gives_the_same_answer_whoever_else_is_asking(engine: EngineProcess) -> None:
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


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_the_first_token_is_told_also_while_its_text_is_held_back(engine: EngineProcess, path: str) -> None:
    body = (CHAT if path.startswith("chat") else COMPLETION) | {"temperature": 1, "seed": 4, "ignore_eos": True}
    plain = engine.stream(f"/v1/{path}", body)[:-1]
    text = "".join(map(_text, plain))
    # The first character could be the beginning of this, until the second has come.
    events = engine.stream(f"/v1/{path}", body | {"stop": text[0] + "never this"})[:-1]
    assert (_text(events[0]), events[0]["choices"][0]["finish_reason"]) == ("", None)
    assert "".join(map(_text, events)) == text


def _text(chunk: dict[str, Any]) -> str:
    choice = chunk["choices"][0]
    return str(choice["text"] if "text" in choice else choice["delta"].get("content", ""))


def test_an_answer_ends_with_the_end_of_text_token_unless_told_to_go_on(engine: EngineProcess) -> None:
    # Of many random answers some end by themselves.
    body: dict[str, Any] = {"temperature": 2, "max_tokens": 150, "n": 8, "seed": 1}
    ended = [choice for choice in engine.complete("hi", **body)["choices"] if choice["finish_reason"] == "stop"]
    assert ended
    assert all("<|eos|>" not in choice["text"] for choice in ended)
    endless = engine.complete("hi", **body, ignore_eos=True)["choices"]
    assert {choice["finish_reason"] for choice in endless} == {"length"}


def test_without_a_limit_a_chat_may_fill_the_context(engine: EngineProcess) -> None:
    messages = [{"role": "user", "content": "x" * 489}]
    answer = engine.post("/v1/chat/completions", {"model": "base", "messages": messages, "ignore_eos": True}).json()
    assert answer["usage"] == {"prompt_tokens": 492, "completion_tokens": 20, "total_tokens": 512}
    assert answer["choices"][0]["finish_reason"] == "length"
    assert engine.complete(max_tokens=None)["usage"]["completion_tokens"] <= 16


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
        # Greedy: the token itself is the likeliest.
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
    # Nor does it become a stream that fails.
    assert error(engine.post(f"/v1/{path}", body | {"stream": True}), 400)["param"] == param


def test_a_context_that_is_too_short_is_said_in_numbers(engine: EngineProcess) -> None:
    found = error(engine.post("/v1/chat/completions", CHAT | {"max_tokens": 600}), 400)
    assert found["code"] == "context_length_exceeded"
    assert found["message"] == (
        "this model's maximum context length is 512 tokens, but the request needs 608: "
        "8 in the prompt and 600 to generate; max_tokens can be at most 504"
    )
    prompt = error(engine.post("/v1/completions", COMPLETION | {"prompt": "x" * 700}), 400)
    assert "maximum context length is 512 tokens, and the prompt alone has 700" in prompt["message"]
    cut = {"prompt": "x" * 500, "max_tokens": 600, "context_length_exceeded_behavior": "truncate", "ignore_eos": True}
    assert engine.post("/v1/completions", COMPLETION | cut).json()["usage"]["completion_tokens"] == 12


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


def test_a_body_that_is_too_large_is_refused_and_the_engine_goes_on(engine: EngineProcess) -> None:
    try:
        answer = engine.http.post("/v1/chat/completions", content=b"x" * (17 * 2**20))
    except httpx.TransportError:
        pass  # it may hang up before all of it was sent
    else:
        assert error(answer, 413)["message"] == "the body is larger than 16 MiB"
    assert engine.chat()["choices"]


def test_unknown_models_routes_and_methods_are_said_so(engine: EngineProcess) -> None:
    unknown = error(engine.post("/v1/chat/completions", CHAT | {"model": "other"}), 404)
    assert (unknown["param"], unknown["code"]) == ("model", "NOT_FOUND")
    error(engine.http.get("/v1/nothing"), 404)
    error(engine.http.get("/v1/chat/completions"), 405)


def test_models_lists_the_base(engine: EngineProcess, base: Path) -> None:
    listed = engine.http.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [(card["id"], card["root"], card["max_model_len"]) for card in listed["data"]] == [("base", str(base), 512)]


def test_metrics_count_tokens_and_requests(engine: EngineProcess) -> None:
    before = [engine.metric("vllm:prompt_tokens_total"), engine.metric("vllm:generation_tokens_total")]
    requests = engine.metric("firectl:requests_total", '{adapter="base"}')
    engine.chat(max_tokens=5, ignore_eos=True)
    assert engine.metric("vllm:prompt_tokens_total") == before[0] + 8
    assert engine.metric("vllm:generation_tokens_total") == before[1] + 5
    assert engine.metric("firectl:requests_total", '{adapter="base"}') == requests + 1


def test_metrics_tell_adapters_apart_and_how_long_it_took(engine: EngineProcess, adapters: dict[str, Path]) -> None:
    times = [f"vllm:{name}_seconds" for name in ("time_to_first_token", "inter_token_latency", "e2e_request_latency")]

    def histograms() -> list[tuple[float, float]]:
        return [(engine.metric(f"{name}_count"), engine.metric(f"{name}_sum")) for name in times]

    before, base = histograms(), engine.metric("firectl:requests_total", '{adapter="base"}')
    with engine.loaded("guest", adapters["small"]):
        started = time.monotonic()
        for _ in range(2):
            engine.complete(model="guest", max_tokens=5, ignore_eos=True)
        passed = time.monotonic() - started
        assert engine.metric("firectl:requests_total", '{adapter="guest"}') == 2
        assert engine.metric("firectl:requests_total", '{adapter="base"}') == base
    counts, sums = zip(*((b[0] - a[0], b[1] - a[1]) for a, b in zip(before, histograms(), strict=True)), strict=True)
    assert counts == (2, 8, 2)
    first, between, whole = sums
    assert 0 < first < first + between == pytest.approx(whole, rel=0.01)
    assert whole < passed


def test_beyond_the_queue_requests_are_told_when_to_come_again(engine: EngineProcess) -> None:
    # 8 slots and 24 places to wait.
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


def test_a_client_that_leaves_a_stream_frees_its_slots(engine: EngineProcess) -> None:
    with leaving(engine) as begun, engine.http.stream("POST", "/v1/completions", json=LONG | {"n": 16}) as answer:
        lines = answer.iter_lines()  # kept: httpx closes the connection when this iterator goes
        next(lines)
        begun()


def test_a_client_that_leaves_before_its_answer_frees_its_slots(engine: EngineProcess) -> None:
    body = json.dumps(LONG | {"n": 16, "stream": False}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with leaving(engine) as begun, socket.create_connection(("127.0.0.1", engine.port)) as client:
        client.sendall(head + body)
        begun()


def test_a_client_that_is_killed_in_a_stream_frees_its_slots(engine: EngineProcess) -> None:
    code = (
        "import httpx, sys\n"
        f"with httpx.stream('POST', '{engine.url}/v1/completions', json={LONG | {'n': 16}!r}) as answer:\n"
        "    for line in answer.iter_lines():\n"
        "        print('line', flush=True)\n"
    )
    with leaving(engine) as begun:
        client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert client.stdout is not None
        assert client.stdout.readline() == b"line\n"
        begun()
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
        client.stdout.close()


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
