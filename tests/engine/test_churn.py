"""Adapters are loaded, unloaded and replaced under load: each answer is by an adapter that its name meant."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from firectl.samples import sample_path
from tests.engine.process import EngineProcess
from tests.voices import QUESTION, train_voices

WORDS = (
    "amber", "birch", "coral", "delta", "ember", "flint", "grove", "heron", "ivory", "jade",
    "kelp", "lilac", "maple", "north", "olive", "pearl", "quartz", "raven", "slate", "topaz",
)  # fmt: skip
STREAMS = 32
PAUSE = 0.2
"""Seconds between two changes."""


@dataclass(frozen=True)
class Choir:
    """An engine whose memory holds less than half of its adapters."""

    engine: EngineProcess
    voices: dict[str, Path]


@pytest.fixture
def choir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Choir]:
    voices = train_voices(tmp_path, WORDS[: request.param])
    room = str(request.param * 2 // 5)
    with EngineProcess(sample_path("base"), "--enable-lora", "--max-loras-in-memory", room) as engine:
        engine.wait_ready()
        for word, path in voices.items():
            assert engine.post("/v1/load_lora_adapter", {"lora_name": word, "lora_path": str(path)}).status_code == 200
        yield Choir(engine, voices)


class Meaning:
    """What each name may answer with: its adapter, and during a change also the next one."""

    def __init__(self, words: Iterable[str]) -> None:
        self._now: dict[str, set[str | None]] = {word: {word} for word in words}
        self._asking: list[tuple[str, set[str | None]]] = []

    def asked(self, name: str) -> set[str | None]:
        """The possible answers to a request that is sent now; grows until `answered`."""
        may = set(self._now[name])
        self._asking.append((name, may))
        return may

    def answered(self, may: set[str | None]) -> None:
        self._asking = [each for each in self._asking if each[1] is not may]

    def changing(self, name: str, word: str | None) -> None:
        self._now[name].add(word)
        for asked, may in self._asking:
            if asked == name:
                may.add(word)

    def changed(self, name: str, word: str | None) -> None:
        """The change is acknowledged: later requests may not get the old answer."""
        self._now[name] = {word}

    def one(self, name: str) -> str | None:
        (word,) = self._now[name]
        return word


async def churn(choir: Choir, answers: int) -> tuple[int, int, int]:
    """Ask until so many were answered; (answers, requests for unloaded adapters, changes)."""
    words, dice = list(choir.voices), random.Random(5)
    meaning = Meaning(words)
    answered = refused = changes = 0
    limits = httpx.Limits(max_connections=None)

    async def ask(http: httpx.AsyncClient) -> None:
        nonlocal answered, refused
        while answered < answers:
            name = dice.choice(words)
            may = meaning.asked(name)
            message = {"role": "user", "content": QUESTION}
            body = {"model": name, "messages": [message], "temperature": 0, "max_tokens": 12}
            answer = await http.post("/v1/chat/completions", json=body)
            meaning.answered(may)
            if answer.status_code == 404:
                refused += 1
                assert None in may, f"{name} was not found, and was loaded as {may}"
            else:
                assert answer.status_code == 200, answer.text
                said = answer.json()["choices"][0]["message"]["content"]
                assert said in may, f"{name} answered {said!r}, and was {may}"
                answered += 1

    async def change(http: httpx.AsyncClient, name: str) -> None:
        nonlocal changes
        if meaning.one(name) is not None and dice.random() < 0.4:
            meaning.changing(name, None)
            answer = await http.post("/v1/unload_lora_adapter", json={"lora_name": name})
            word = None
        else:
            word = dice.choice(words)
            meaning.changing(name, word)
            body = {"lora_name": name, "lora_path": str(choir.voices[word]), "load_inplace": True}
            answer = await http.post("/v1/load_lora_adapter", json=body)
        assert answer.status_code == 200, answer.text
        meaning.changed(name, word)
        changes += 1

    async def change_on(http: httpx.AsyncClient) -> None:
        """One change each PAUSE, without waiting for the last; one at a time for each name."""
        under_way: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(PAUSE)  # the pace that is asked for, not a wait
                free = [name for name in words if name not in under_way or under_way[name].done()]
                if free:
                    name = dice.choice(free)
                    under_way[name] = group.create_task(change(http, name))

    async with httpx.AsyncClient(base_url=choir.engine.url, timeout=60, limits=limits) as http:
        changer = asyncio.create_task(change_on(http))
        try:
            await asyncio.gather(*(ask(http) for _ in range(STREAMS)))
        finally:
            changer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await changer
    return answered, refused, changes


@pytest.mark.parametrize("choir", [6], indirect=True)
def test_no_answer_is_by_another_adapter_or_the_base(choir: Choir) -> None:
    answered, refused, changes = asyncio.run(churn(choir, answers=300))
    assert answered >= 300
    assert changes > 0
    assert refused < answered
    assert choir.engine.metric("firectl:adapter_reads_total") > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("choir", [len(WORDS)], indirect=True)
def test_no_answer_of_ten_thousand_is_by_another_adapter_or_the_base(choir: Choir) -> None:
    answered, refused, changes = asyncio.run(churn(choir, answers=10_000))
    assert answered >= 10_000
    assert changes > 100
    assert 0 < refused < answered


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("choir", [6], indirect=True)
def test_a_thousand_rounds_of_load_request_unload_leave_nothing_behind(choir: Choir) -> None:
    process, words = psutil.Process(choir.engine.process.pid), list(choir.voices)

    def usage() -> tuple[int, int, int]:
        return process.memory_info().rss, process.num_threads(), process.num_fds()

    settled = usage()
    for number in range(1000):
        word = words[number % len(words)]
        with choir.engine.loaded("guest", choir.voices[word]):
            answer = choir.engine.chat(QUESTION, model="guest", max_tokens=12)
            assert answer["choices"][0]["message"]["content"] == word
        if number == 50:
            settled = usage()
    memory, threads, files = usage()
    assert memory <= settled[0] * 1.05
    assert (threads, files) == settled[1:]
