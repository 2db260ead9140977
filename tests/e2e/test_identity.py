"""The model that is asked answers: four adapters and their base on one deployment, 32 streams at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from firectl.samples import sample_path
from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell
from tests.voices import QUESTION, train_voices

WORDS = ("amber", "birch", "coral", "delta")
DEPLOYMENT = "accounts/local/deployments/choir"
STREAMS = 32
SECONDS_OF_A_DAY = 86400


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


def test_what_was_served_is_in_the_metrics_within_three_seconds_and_probes_are_not(
    home: Shell, routes: dict[str, str]
) -> None:
    url, key = home.env["FIREWORKS_BASE_URL"], home.env["FIREWORKS_API_KEY"]
    today = datetime.now(UTC).date()
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60) as http:

        def read(metric: str, group: str) -> dict[str, float]:
            """By the group's name: what all values of today and tomorrow together stand for."""
            span = {"start": str(today), "end": str(today + timedelta(days=1)), "interval": "24h"}
            query = {"metric": metric, "groupBy": group, **span}
            answer = http.get("/v1/accounts/local/deploymentMetrics", params=query)
            series = answer.raise_for_status().json()["series"]
            return {
                row["labels"][group]: sum(float(value["value"]) * SECONDS_OF_A_DAY for value in row["values"])
                for row in series
            }

        def ask(route: str, **fields: Any) -> Mapping[str, Any]:
            body = {"model": route, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 7}
            probe = {"x-firectl-probe": "1"} if fields.pop("probe", False) else {}
            answer = http.post("/inference/v1/chat/completions", json=body | fields, headers=probe)
            return {} if fields.get("stream") else answer.json()

        metrics = ("requests-per-second", "errors-per-second", "tokens-per-second", "tokens-prompt-per-second")

        def read_all() -> dict[str, dict[str, int]]:
            found = {metric: {**read(metric, "deployment"), **read(metric, "model")} for metric in metrics}
            return {metric: {name: round(value) for name, value in values.items()} for metric, values in found.items()}

        # Creating and loading proved that each answers: with probes.
        assert read_all() == {metric: {} for metric in metrics}
        served: dict[str, Counter[str]] = {metric: Counter() for metric in metrics}
        for word in ("amber", "birch", "amber", ""):
            model = f"accounts/local/models/{word}" if word else BASE
            usage = ask(routes[word], ignore_eos=True)["usage"]
            ask(routes[word], ignore_eos=True, stream=True)
            ask(routes[word], ignore_eos=True, probe=True)
            assert ask(routes[word], temperature=-1)["error"]["param"] == "temperature"
            for name in (model, DEPLOYMENT):
                served["requests-per-second"][name] += 2
                served["tokens-per-second"][name] += 2 * usage["completion_tokens"]
                served["tokens-prompt-per-second"][name] += 2 * usage["prompt_tokens"]
        assert served["tokens-per-second"][DEPLOYMENT] == 2 * 4 * 7

        deadline = time.monotonic() + 3
        while read_all() != served and time.monotonic() < deadline:
            time.sleep(0.1)
        assert read_all() == served


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
