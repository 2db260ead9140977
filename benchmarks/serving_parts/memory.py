"""More adapters than memory holds: does a cold one, or a load, make everybody wait?"""

from __future__ import annotations

import random
import statistics

from serving_parts.goals import Figure
from serving_parts.load import measure_mix
from serving_parts.world import IN_MEMORY, LOADED, World, address, stage

REQUESTS, STREAMS = 512, 8


def run(world: World) -> tuple[list[Figure], dict[str, object]]:
    names = [folder.name for folder in world.adapters]
    source = random.Random(7)
    chances = [1 / rank for rank in range(1, LOADED + 1)]
    with stage(world) as servers:
        options = ("--max-loras", str(LOADED), "--max-loras-in-memory", str(IN_MEMORY))
        engine = servers.engine("cold", world.base, *options, adapters=world.adapters)
        where = address(engine, names)
        measure_mix(where, STREAMS, source.choices(names, chances, k=32), seed=1)
        turn = measure_mix(where, STREAMS, source.choices(names, chances, k=REQUESTS), seed=10_000)
    document: dict[str, object] = {"tokens_per_second": round(turn.rate, 1)}
    figures = []
    for name, seconds in (
        ("whole answer", [answer.whole for answer in turn.answers]),
        ("TTFT", [answer.first for answer in turn.answers]),
    ):
        median, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100, method="inclusive")[98]
        note = f"{1e3 * median:.0f} ms and {1e3 * p99:.0f} ms, {len(seconds)} requests, {STREAMS} streams"
        title = f"{LOADED} adapters, {IN_MEMORY} in memory: {name}, P99 / median"
        figures.append(Figure(title, p99 / median, at_most=3.0, note=note))
        document[name] = {"median_ms": round(1e3 * median, 1), "p99_ms": round(1e3 * p99, 1)}
    return figures, document
