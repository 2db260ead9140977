"""A load generator for any route: how many requests and tokens a second, how long to the first token and between.

    from firectl.bench import Endpoint, Load, Target, fixed, measure

    here = Endpoint("http://127.0.0.1:8080/inference/v1", api_key="…")
    report = measure(
        [Target("merged", ("accounts/a/models/m",), here), Target("mixed", ("accounts/a/models/x#…", "…"), here)],
        Load(concurrency=(1, 8), requests=96, prompt=fixed(200), max_tokens=fixed(64), ignore_eos=True, chat=False),
    )
    report.of("mixed", concurrency=8).relative["generated_tokens_per_second"]

Stdlib and h11; knows neither settings nor resources: a target is an address and the `model` fields to send there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from firectl.bench.figures import Figures, Spread
from firectl.bench.generator import Cell, Generator
from firectl.bench.lengths import Lengths, fixed, parse_lengths
from firectl.bench.load import Endpoint, Level, Load, Mix, Target, Tokenizing, parse_mix
from firectl.bench.report import Report, Result, columns, report_of, rows

__all__ = [
    "Cell",
    "Endpoint",
    "Figures",
    "Generator",
    "Lengths",
    "Level",
    "Load",
    "Mix",
    "Report",
    "Result",
    "Spread",
    "Target",
    "Tokenizing",
    "columns",
    "fixed",
    "measure",
    "parse_lengths",
    "parse_mix",
    "report_of",
    "rows",
]


def measure(targets: Sequence[Target], load: Load, *, on_round: Callable[[Cell], None] | None = None) -> Report:
    """Runs the load on every target, taking turns, and reports. Errors of requests are figures, not exceptions."""
    run = Generator(targets, load, on_round=on_round)
    asyncio.run(run.run())
    return report_of(run)
