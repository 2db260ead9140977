"""Progress of a load: elsewhere a line for each round, in a terminal a table that fills."""

from __future__ import annotations

import io
from array import array

import pytest

from firectl.bench import BenchTarget, Cell, Endpoint, Level
from firectl.bench.generator import LoadRound
from firectl.bench.samples import Sample
from firectl.cli.bench.live import watch
from firectl.cli.output.output import Output
from firectl.cli.output.progress import Progress
from tests.cli.bench.replies import ROUTE


class Screen(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def measured() -> Cell:
    """Two seconds of one stream: two answers of 5 tokens, the first after 0.1 s, and an error."""
    answered = [
        Sample(ROUTE, due=0.0, sent=at, done=at + 0.5, arrivals=array("d", [at + 0.1]), generated_tokens=5)
        for at in (0.0, 1.0)
    ]
    failed = Sample(ROUTE, due=1.5, sent=1.5, done=1.6, error="timeout")
    target = BenchTarget(ROUTE, (ROUTE,), Endpoint("http://127.0.0.1:1/v1"))
    return Cell(target, Level(concurrency=1), [LoadRound(started=0.0, ended=2.0, samples=[*answered, failed])])


def watched(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> tuple[bool, str]:
    """(whether each second is heard of, what is on the screen after a round)."""
    screen = Screen(is_terminal)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    output = Output("text", quiet=False, color=False)
    with watch(Progress(output), output) as (on_tick, on_round):
        on_round(measured())
    return on_tick is not None, screen.getvalue()


def test_without_a_terminal_a_round_is_a_line_and_a_second_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, is_terminal=False) == (
        False,
        "m#d, 1 stream, round 1: 3 requests, 1 failed, 1.00 qps, 5.0 tokens/s, first token 100.0 ms\n",
    )


def test_in_a_terminal_the_same_figures_are_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    each_second, screen = watched(monkeypatch, is_terminal=True)
    assert each_second
    assert "first token ms" in screen
    assert "m#d     1 stream  1      3         1       1.00  5.0       100.0" in screen
