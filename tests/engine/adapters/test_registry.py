"""Adapters are loaded and unloaded while the engine serves, and a name answers by its last weights."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from firectl.engine.adapters.read import AdapterReader
from firectl.engine.adapters.registry import Registry
from firectl.errors import ApiError
from firectl.schemas.openai import ParamError
from tests.engine.harness import Harness
from tests.engine.process import EngineProcess
from tests.tiny import make_base

LONG = {"model": "base", "prompt": "hello", "max_tokens": 300, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The same base with a longer context, so that adapters can change during an answer."""
    base = make_base(tmp_path_factory.mktemp("roomy") / "base", max_positions=2048)
    with EngineProcess(base, "--enable-lora") as process:
        process.wait_ready()
        yield process


def load(engine: EngineProcess, name: str, path: Path, **fields: Any) -> httpx.Response:
    return engine.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)} | fields)


def unload(engine: EngineProcess, name: str) -> httpx.Response:
    return engine.post("/v1/unload_lora_adapter", {"lora_name": name})


def text(engine: EngineProcess, model: str = "base") -> str:
    return str(engine.complete(model=model, max_tokens=16, ignore_eos=True)["choices"][0]["text"])


def names(engine: EngineProcess) -> list[str]:
    return [card["id"] for card in engine.http.get("/v1/models").json()["data"]]


def test_a_loaded_adapter_answers_under_its_name_and_an_unloaded_one_is_gone(
    engine: EngineProcess, adapters: dict[str, Path], harness: Harness
) -> None:
    plain = text(engine)
    with engine.loaded("one", adapters["small"]), engine.loaded("two", adapters["wide"]):
        assert names(engine) == ["base", "one", "two"]
        voices = [text(engine, name) for name in ("base", "one", "two")]
        expected = [
            harness.run([harness.sequence("hello", adapter=adapter)])[0].text
            for adapter in (None, harness.adapter(adapters["small"]), harness.adapter(adapters["wide"]))
        ]
        assert voices == expected
        assert len(set(voices)) == 3
        assert voices[0] == plain
    assert names(engine) == ["base"]
    gone = engine.post("/v1/completions", LONG | {"model": "one"})
    assert (gone.status_code, gone.json()["error"]["param"]) == (404, "model")
    assert unload(engine, "one").status_code == 404


def test_many_streams_of_many_adapters_each_get_their_own(engine: EngineProcess, adapters: dict[str, Path]) -> None:
    loaded = ["base", *adapters]
    for name, path in adapters.items():
        assert load(engine, name, path).status_code == 200
    try:
        alone = {name: text(engine, name) for name in loaded}
        heard: list[tuple[str, str]] = []

        def ask(name: str) -> None:
            body = LONG | {"model": name, "max_tokens": 16}
            with (
                httpx.Client(base_url=engine.url, timeout=60) as http,
                http.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer,
            ):
                events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
            heard.append((name, "".join(event["choices"][0]["text"] for event in events)))

        threads = [threading.Thread(target=ask, args=(loaded[number % len(loaded)],)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(heard) == 30
        assert set(heard) == set(alone.items())
    finally:
        for name in adapters:
            unload(engine, name)


def test_the_same_content_again_is_a_no_op_and_other_content_needs_to_be_asked_for(
    engine: EngineProcess, adapters: dict[str, Path], tmp_path: Path
) -> None:
    with engine.loaded("voice", adapters["small"]):
        first = text(engine, "voice")
        copy = tmp_path / "elsewhere"
        shutil.copytree(adapters["small"], copy)
        again = load(engine, "voice", copy)
        assert again.status_code == 200
        assert "loaded already" in again.text
        refused = load(engine, "voice", adapters["wide"])
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "lora_name"
        assert "loaded already with other content" in refused.json()["error"]["message"]
        assert text(engine, "voice") == first
        assert load(engine, "voice", adapters["wide"], load_inplace=True).status_code == 200
        second = text(engine, "voice")
        assert second != first
        assert names(engine) == ["base", "voice"]
    with engine.loaded("voice", adapters["attention"]):
        assert text(engine, "voice") not in (first, second)


@pytest.mark.parametrize("way", ["unload", "replace"])
def test_a_request_in_flight_ends_on_the_weights_it_began_with(
    way: str, roomy: EngineProcess, adapters: dict[str, Path]
) -> None:
    engine = roomy
    load(engine, "voice", adapters["small"])
    body = LONG | {"model": "voice", "max_tokens": 1500}
    whole = engine.post("/v1/completions", body).json()["choices"][0]["text"]
    with engine.http.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
        lines = answer.iter_lines()
        heard = [next(lines)]
        if way == "unload":
            assert unload(engine, "voice").status_code == 200
        else:
            assert load(engine, "voice", adapters["wide"], load_inplace=True).status_code == 200
        # The answer was still in progress after the change.
        assert engine.metric("vllm:num_requests_running") == 1
        heard += [line for line in lines if line]
    events = [json.loads(line[6:]) for line in heard if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == whole
    unload(engine, "voice")


def test_streams_continue_while_adapters_are_loaded(engine: EngineProcess, adapters: dict[str, Path]) -> None:
    with engine.http.stream("POST", "/v1/completions", json=LONG | {"stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        for _ in range(3):
            for name, path in adapters.items():
                assert load(engine, name, path).status_code == 200
                assert unload(engine, name).status_code == 200
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert events[-1]["usage"]["completion_tokens"] == 300


def test_equal_loads_at_once_make_one(engine: EngineProcess, adapters: dict[str, Path]) -> None:
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(load(engine, "voice", adapters["small"]).text)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert sorted(set(answers)) == [
            "Success: LoRA adapter 'voice' added successfully.",
            "Success: LoRA adapter 'voice' is loaded already.",
        ]
        assert sum("added" in answer for answer in answers) == 1
        assert names(engine) == ["base", "voice"]
    finally:
        unload(engine, "voice")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"lora_path": "/x"}, "lora_name"),
        ({"lora_name": "", "lora_path": "/x"}, "lora_name"),
        ({"lora_name": "x"}, "lora_path"),
        ({"lora_name": "x", "lora_path": 7}, "lora_path"),
        ({"lora_name": "x", "lora_path": "relative/path"}, "lora_path"),
        ({"lora_name": "x", "lora_path": "/does/not/exist"}, "lora_path"),
        ({"lora_name": "base", "lora_path": "/x"}, "lora_name"),
        ({"lora_name": "x", "lora_path": "/x", "load_inplace": 1}, "load_inplace"),
        ({"lora_name": "x", "lora_path": "/x", "colour": "red"}, "colour"),
    ],
)
def test_a_load_that_is_wrong_names_the_field(body: dict[str, Any], param: str, engine: EngineProcess) -> None:
    refused = engine.post("/v1/load_lora_adapter", body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


def test_limits_are_reported_with_their_flag(harness: Harness, adapters: dict[str, Path]) -> None:
    limits = replace(harness.options, max_loras=1)
    reader = AdapterReader(harness.loaded, max_rank=8)

    async def story(registry: Registry) -> None:
        assert await registry.load("one", adapters["small"])
        with pytest.raises(ApiError, match="1 adapters are loaded") as full:
            await registry.load("two", adapters["attention"])
        assert "--max-loras" in str(full.value.hint)
        await registry.unload("one")
        with pytest.raises(ParamError, match=r"at most 8 \(--max-lora-rank\), got 16"):
            await registry.load("high", adapters["wide"])
        assert await registry.load("two", adapters["attention"])
        assert list(registry.adapters) == ["two"]

    with harness.running() as (engine, _):
        asyncio.run(story(Registry(engine, reader, limits)))
