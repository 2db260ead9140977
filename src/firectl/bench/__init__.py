"""A load generator for any route: measures rates and latencies of requests and tokens. See docs/bench.md.

Must not depend on settings or resources: a target is an address and the `model` fields to send there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from firectl.bench.figures import LoadFigures, Spread
from firectl.bench.generator import Cell, Generator
from firectl.bench.lengths import Lengths, fixed, parse_lengths
from firectl.bench.load import BenchTarget, Endpoint, Level, Load, Mix, Tokenizing, parse_mix
from firectl.bench.report import BenchReport, Result, columns, report_of, rows

__all__ = [
    "BenchReport",
    "BenchTarget",
    "Cell",
    "Endpoint",
    "Generator",
    "Lengths",
    "Level",
    "Load",
    "LoadFigures",
    "Mix",
    "Result",
    "Spread",
    "Tokenizing",
    "columns",
    "fixed",
    "measure",
    "parse_lengths",
    "parse_mix",
    "report_of",
    "rows",
]


def measure(
    targets: Sequence[BenchTarget], load: Load, *, on_round: Callable[[Cell], None] | None = None
) -> BenchReport:
    """Run the load on the targets in turns. Failed requests are counted in the report and raise no exception."""
    run = Generator(targets, load, on_round=on_round)
    asyncio.run(run.run())
    return report_of(run)
