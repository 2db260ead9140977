"""Show the progress of a load on stderr: a table in a terminal, elsewhere one line per round.

Imports rich only for a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firectl.cli.bench.report import labels, ms
from firectl.cli.output import render
from firectl.cli.output.output import Output
from firectl.cli.output.progress import Progress

if TYPE_CHECKING:
    from firectl.bench import Cell

OnCell = Callable[["Cell"], None]
_HEADER = ("target", "load", "round", "requests", "failed", "qps", "tokens/s", "first token ms")


@contextmanager
def watch(progress: Progress, output: Output) -> Iterator[tuple[OnCell | None, OnCell]]:
    """Yield two callbacks: one to call each second (None without a live table), and one to call after each round."""
    if not progress.is_live:
        yield None, lambda cell: output.note(_line(cell))
        return
    from rich.live import Live
    from rich.text import Text

    cells: dict[int, tuple[str, ...]] = {}
    # No refresh thread: it would compete with the load generator.
    with Live(console=progress.console(), auto_refresh=False, transient=True) as live:

        def update(cell: Cell) -> None:
            cells[id(cell)] = _row(cell)
            live.update(Text("\n".join(render.table(_HEADER, [*cells.values()])), no_wrap=True), refresh=True)

        yield update, update


def _line(cell: Cell) -> str:
    name, load, rounds, requests, failed, qps, tokens, first = _row(cell)
    return (
        f"{name}, {load}, round {rounds}: {requests} requests, {failed} failed, {qps} qps, "
        f"{tokens} tokens/s, first token {first} ms"
    )


def _row(cell: Cell) -> tuple[str, ...]:
    """Return the table row of a cell (one target at one level), over all its rounds so far."""
    from firectl.bench.connection import now

    samples = [sample for round_ in cell.rounds for sample in round_.samples]
    whole = [sample for sample in samples if sample.error is None]
    seconds = sum((round_.ended or now()) - round_.started for round_ in cell.rounds)
    firsts = sorted(first for sample in whole if (first := sample.time_to_first_token) is not None)
    return (
        labels([{"target": cell.target.name}])[cell.target.name],
        str(cell.level),
        str(len(cell.rounds)),
        str(len(samples)),
        str(len(samples) - len(whole)),
        f"{len(whole) / seconds:.2f}" if seconds else "-",
        f"{sum(sample.generated_tokens or 0 for sample in whole) / seconds:.1f}" if seconds else "-",
        ms(firsts[len(firsts) // 2]) or "-" if firsts else "-",
    )
