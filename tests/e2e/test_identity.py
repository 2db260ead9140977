"""Whoever is asked answers: four adapters and their base on one deployment, 32 streams at once."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI

from firectl.samples import sample_path
from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell
from tests.voices import QUESTION, train_voices

WORDS = ("amber", "birch", "coral", "delta")
DEPLOYMENT = "accounts/local/deployments/choir"
STREAMS = 32


@pytest.fixture(scope="module")
def routes(home: Shell, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The route of each adapter by its word, and of the base under ''."""
    adapters = train_voices(tmp_path_factory.mktemp("voices"), WORDS)
    home.ok("local", "up")
    home.enter()
    home.ok("-a", "fireworks", "model", "create", "sample-llama", str(sample_path("base")))
    home.ok("deployment", "create", BASE, "--enable-addons", "--deployment-id", "choir", "--wait")
    for word, folder in adapters.items():
        home.ok("model", "create", word, str(folder), "--base-model", BASE)
        home.ok("load-lora", word, "--deployment", "choir", "--wait")
    return {"": DEPLOYMENT} | {word: f"accounts/local/models/{word}#{DEPLOYMENT}" for word in WORDS}


def test_each_of_32_mixed_streams_gives_the_answer_it_gives_alone(home: Shell, routes: dict[str, str]) -> None:
    url, key = home.env["FIREWORKS_BASE_URL"] + "/inference/v1", home.env["FIREWORKS_API_KEY"]

    async def ask(client: AsyncOpenAI, route: str) -> str:
        pieces = []
        stream = await client.chat.completions.create(
            model=route, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=40, stream=True
        )
        async for chunk in stream:
            pieces += [choice.delta.content or "" for choice in chunk.choices]
        return "".join(pieces)

    async def ask_all() -> None:
        async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
            alone = {word: await ask(client, route) for word, route in routes.items()}
            assert {word: alone[word] for word in WORDS} == {word: word for word in WORDS}
            assert alone[""] not in WORDS
            turns = [list(routes)[i % len(routes)] for i in range(STREAMS)]
            together = await asyncio.gather(*(ask(client, routes[word]) for word in turns))
            assert [(word, answer) for word, answer in zip(turns, together, strict=True)] == [
                (word, alone[word]) for word in turns
            ]

    asyncio.run(ask_all())
