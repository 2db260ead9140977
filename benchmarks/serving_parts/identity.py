"""Does an answer depend on who else is in the batch? The share of answers equal alone and among 32, half of them greedy
and half of them drawn with a seed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving_parts.goals import Figure
from serving_parts.load import prompt
from serving_parts.world import World, stage

ASKED, TOKENS = 32, 32


def run(world: World) -> tuple[list[Figure], dict[str, object]]:
    from firectl.samples import sample_path

    pirate = (sample_path("pirate"),)
    cases: list[tuple[str, Path, str, tuple[Path, ...], float | None]] = [
        ("4 adapters on random weights, float32", world.base, "float32", tuple(world.adapters[:4]), 1.0),
        ("4 adapters on random weights, bfloat16", world.base, "bfloat16", tuple(world.adapters[:4]), None),
        ("trained sample and its adapter, bfloat16", sample_path("base"), "bfloat16", pirate, 1.0),
    ]
    figures: list[Figure] = []
    document: dict[str, object] = {}
    for title, model, dtype, adapters, wanted in cases:
        with stage(world) as servers:
            engine = servers.engine(
                "identity", model, "--dtype", dtype, "--no-enable-prefix-caching", adapters=adapters
            )
            names = [*(folder.name for folder in adapters), "base"]
            same = asyncio.run(_same(engine.port, names, trained="trained" in title))
        print(f"  {title}: {same} of {ASKED}", flush=True)
        figures.append(Figure(f"same alone and among {ASKED}: {title}", same / ASKED, at_least=wanted, unit=" "))
        document[title] = {"same": same, "of": ASKED}
    return figures, document


async def _same(port: int, names: list[str], *, trained: bool) -> int:
    import httpx

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:

        async def ask(number: int) -> str:
            text = (
                f"Question {number}: what is {number} and {number * 7}?" if trained else prompt(500_000 + number)[:60]
            )
            body = {"model": names[number % len(names)], "prompt": text, "max_tokens": TOKENS}
            # Pairs: an odd number of names would else give one of them the greedy ones alone.
            body |= {"temperature": 1, "seed": number} if number // 2 % 2 else {"temperature": 0}
            answer = await http.post("/v1/completions", json=body | {"ignore_eos": True, "logprobs": 0})
            answer.raise_for_status()
            # Tokens, not text: what is no character all looks the same.
            return "\0".join(answer.json()["choices"][0]["logprobs"]["tokens"])

        alone = [await ask(number) for number in range(ASKED)]
        together = await asyncio.gather(*(ask(number) for number in range(ASKED)))
    return sum(one == other for one, other in zip(alone, together, strict=True))
