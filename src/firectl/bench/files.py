"""Writes a report as CSV, and as a plot of throughput and time to first token against the load.

The plot needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import csv
from pathlib import Path

from firectl.bench.report import BenchReport, Result, columns, rows

PLOTS = (".png", ".svg")


def write_csv(report: BenchReport, path: Path) -> None:
    """Write a row for each target at each level of the load, and for each route if a target has several.

    Times: seconds.
    """
    flat = list(rows(report))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns(flat), restval="")
        writer.writeheader()
        writer.writerows(flat)


def write_plot(report: BenchReport, path: Path) -> None:
    """Draw two charts side by side. The file's ending (one of PLOTS) decides the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    throughput, first_token = figure.subplots(1, 2)
    targets = dict.fromkeys(result.target.name for result in report.results)
    for name in targets:
        points = [result for result in report.results if result.target.name == name]
        at = [_place(result) for result in points]
        throughput.plot(at, [point.figures.generated_tokens_per_second for point in points], "o-", label=name)
        timed = [(where, point.figures.time_to_first_token) for where, point in zip(at, points, strict=True)]
        known = [(where, spread) for where, spread in timed if spread is not None]
        places = [where for where, _ in known]
        [line] = first_token.plot(places, [spread.p50 * 1000 for _, spread in known], "o-", label=f"{name}, p50")
        tail = [spread.p99 * 1000 for _, spread in known]
        first_token.plot(places, tail, "o:", color=line.get_color(), label=f"{name}, p99")
    for axes, title, unit in (
        (throughput, "Throughput", "generated tokens per second"),
        (first_token, "Time to first token", "milliseconds"),
    ):
        axes.set_title(title)
        axes.set_xlabel("requests per second" if report.load.rates else "concurrent streams")
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, format=path.suffix.lower().removeprefix("."), dpi=120)


def _place(result: Result) -> float:
    return result.level.rate if result.level.rate is not None else float(result.level.concurrency or 0)
