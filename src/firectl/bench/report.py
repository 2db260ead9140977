"""The result of a run: the figures of each target at each level, as a document and as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from firectl.bench.figures import LoadFigures, examples, figures_of
from firectl.bench.generator import Cell, Generator
from firectl.bench.load import BenchTarget, Level, Load

RATES = ("qps", "prompt_tokens_per_second", "generated_tokens_per_second")
LATENCIES = ("time_to_first_token", "inter_token_latency", "end_to_end_latency")


@dataclass(frozen=True)
class Result:
    """The figures of one target at one level.

    `relative`: figure → its ratio to the first target's figure at that level.
    """

    target: BenchTarget
    level: Level
    figures: LoadFigures
    rounds: tuple[LoadFigures, ...]
    by_route: tuple[tuple[str, LoadFigures], ...]
    """(route, figures) of each route, if the target has several."""
    relative: dict[str, float]
    unfinished: int

    def to_document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"target": self.target.name, "routes": [*self.target.routes]}
        if len(self.target.routes) > 1:
            document["mix"] = str(self.target.mix)
        if self.level.concurrency is not None:
            document["concurrency"] = self.level.concurrency
        else:
            document["rate"] = self.level.rate
        document |= self.figures.to_document()
        if self.unfinished:
            document["unfinished"] = self.unfinished
        document["relative"] = {name: round(ratio, 4) for name, ratio in self.relative.items()}
        if self.by_route:
            document["by_route"] = [{"route": route, **figures.to_document()} for route, figures in self.by_route]
        document["rounds"] = [figures.to_document() for figures in self.rounds]
        return document


@dataclass(frozen=True)
class BenchReport:
    load: Load
    results: tuple[Result, ...]
    errors: dict[str, str]
    """Kind of error → the first message of that kind."""
    gave_up: str | None
    interrupted: bool

    @property
    def requests(self) -> int:
        return sum(result.figures.requests for result in self.results)

    @property
    def failed(self) -> int:
        return sum(result.figures.failed for result in self.results)

    def of(self, target: str, *, concurrency: int | None = None, rate: float | None = None) -> Result:
        """Return a target's result at a level, by default at its first level. KeyError if there is no such result."""
        wanted = Level(concurrency, rate)
        for result in self.results:
            if result.target.name == target and wanted in (Level(), result.level):
                return result
        raise KeyError(f"{target} at {wanted}")

    def to_document(self) -> dict[str, Any]:
        load = self.load
        settings: dict[str, Any] = {
            "api": "chat" if load.chat else "completions",
            "stream": load.stream,
            "prompt": f"{len(load.prompts)} texts" if load.prompts else str(load.prompt),
            "prompt_unit": "tokens" if load.prompt_in_tokens else "characters",
            "max_tokens": str(load.max_tokens),
            "ignore_eos": load.ignore_eos,
            "temperature": load.temperature,
            "requests": load.requests,
            "seconds": load.seconds,
            "arrival": load.arrival if load.rates else None,
            "timeout": load.timeout,
            "seed": load.seed,
        }
        document: dict[str, Any] = {
            "load": {name: value for name, value in settings.items() if value is not None},
            "interrupted": self.interrupted,
            "results": [result.to_document() for result in self.results],
            "error_examples": self.errors,
        }
        if self.gave_up is not None:
            document["gave_up"] = self.gave_up
        return document


def report_of(run: Generator, *, interrupted: bool = False) -> BenchReport:
    """Make the report of what a run has measured so far."""
    results: list[Result] = []
    for cell in run.cells:
        first = next((result for result in results if result.level == cell.level), None)
        results.append(_result(cell, first))
    samples = (sample for cell in run.cells for round_ in cell.rounds for sample in round_.samples)
    return BenchReport(run.load, tuple(results), examples(samples), run.gave_up, interrupted)


def _result(cell: Cell, first: Result | None) -> Result:
    has_rate = cell.level.rate is not None
    figures = figures_of(cell.rounds, has_rate=has_rate)
    routes = cell.target.routes if len(cell.target.routes) > 1 else ()
    return Result(
        target=cell.target,
        level=cell.level,
        figures=figures,
        rounds=tuple(figures_of([round_], has_rate=has_rate) for round_ in cell.rounds),
        by_route=tuple((route, figures_of(cell.rounds, route=route, has_rate=has_rate)) for route in routes),
        relative=relative_to(first.figures if first is not None else figures, figures),
        unfinished=sum(round_.unfinished for round_ in cell.rounds),
    )


def relative_to(first: LoadFigures, figures: LoadFigures) -> dict[str, float]:
    """Divide each rate and median latency by that of `first`. Leave out figures that one of them lacks."""
    ratios: dict[str, float] = {}
    for name in RATES:
        # Without requests nothing was measured.
        if getattr(first, name) > 0 and figures.requests > 0:
            ratios[name] = getattr(figures, name) / getattr(first, name)
    for name in LATENCIES:
        one, other = getattr(first, name), getattr(figures, name)
        if one is not None and other is not None and one.p50 > 0:
            ratios[f"{name}_p50"] = other.p50 / one.p50
    return ratios


def rows(report: BenchReport) -> Iterator[dict[str, Any]]:
    """Yield one flat row per target and level. A target with several routes also has one row per route.

    Columns are the document's names joined by an underscore: `time_to_first_token_p99`.
    """
    for result in report.results:
        document = result.to_document()
        for name in ("by_route", "rounds", "routes", "mix"):
            document.pop(name, None)
        routes = result.target.routes
        yield _flat({**document, "route": routes[0] if len(routes) == 1 else f"{len(routes)} routes"})
        level: dict[str, Any] = {name: document.get(name) for name in ("target", "concurrency", "rate")}
        for route, figures in result.by_route:
            yield _flat({**level, **figures.to_document(), "route": route})


def columns(flat: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of all columns of these rows: target, route and level first."""
    first = ["target", "route", "concurrency", "rate"]
    names = dict.fromkeys(name for row in flat for name in row)
    return [name for name in first if name in names] + [name for name in names if name not in first]


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
