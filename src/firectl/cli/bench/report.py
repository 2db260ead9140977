"""Format a `bench` report as text: tables that compare the targets, with latencies in milliseconds.

The text is made only from the JSON document, so that people and scripts get the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from firectl.cli.output import render
from firectl.cli.output.counted import counted
from firectl.cli.output.output import View

Document = Mapping[str, Any]

LATENCIES = (
    ("time to first token", "time_to_first_token"),
    ("between tokens", "inter_token_latency"),
    ("end to end", "end_to_end_latency"),
)
PERCENTILES = ("p50", "p90", "p95", "p99")
UNLIKE = 1.02
"""If the mean answer lengths of two targets have a larger ratio, the report includes a warning."""


def lines(document: Document) -> Iterator[str]:
    results: Sequence[Document] = document["results"]
    short = labels(results)
    full = {name: label for name, label in short.items() if name != label}
    for name, label in full.items():
        yield f"{label} = {name}"
    if full:
        yield ""
    # The last column has the ratio to the first target.
    end = None if len(short) > 1 else -1
    yield from render.table(_THROUGHPUT[:end], [row[:end] for row in _throughput(results, short)])
    yield ""
    yield from render.table(_SPREADS[:end], [row[:end] for row in _latencies(results, short)])
    yield from _by_route(results)
    yield from _unlike(results, short)
    yield from _errors(document)


VIEW = View(text=lines)

_THROUGHPUT = ("TARGET", "LOAD", "REQUESTS", "FAILED", "QPS", "PROMPT TOKENS/S", "TOKENS/S", "TOKENS/S TO FIRST")
_SPREADS = ("MILLISECONDS", "TARGET", "LOAD", "P50", "P90", "P95", "P99", "P50 TO FIRST")


def labels(results: Sequence[Document]) -> dict[str, str]:
    """Return {target: its short name}. If short names are not unique, use the full names."""
    names = list(dict.fromkeys(result["target"] for result in results))
    short = {name: "#".join(part.rpartition("/")[2] for part in name.split("#")) for name in names}
    return short if len(set(short.values())) == len(names) else {name: name for name in names}


def load_of(result: Document) -> str:
    if "rate" in result:
        return f"{result['rate']:g}/s"
    return counted(result["concurrency"], "stream")


def _in_levels(results: Sequence[Document]) -> list[Document]:
    """Return the results sorted by level (rate or streams), so that targets with the same level are adjacent."""
    return sorted(results, key=lambda result: result.get("rate") or result.get("concurrency") or 0)


def _throughput(results: Sequence[Document], short: Mapping[str, str]) -> Iterator[tuple[object, ...]]:
    for result in _in_levels(results):
        yield (
            short[result["target"]],
            load_of(result),
            result["requests"],
            result["failed"],
            f"{result['qps']:.2f}",
            f"{result['prompt_tokens_per_second']:.1f}",
            f"{result['generated_tokens_per_second']:.1f}",
            ratio(result, "generated_tokens_per_second"),
        )


def _latencies(results: Sequence[Document], short: Mapping[str, str]) -> Iterator[tuple[object, ...]]:
    for title, name in LATENCIES:
        for result in _in_levels(results):
            if name in result:
                spread = (ms(result[name][percentile]) for percentile in PERCENTILES)
                yield title, short[result["target"]], load_of(result), *spread, ratio(result, f"{name}_p50")


def _by_route(results: Sequence[Document]) -> Iterator[str]:
    """Yield a table with the figures of each route in a mix, or nothing without a mix."""
    rows = [
        (
            route["route"],
            load_of(result),
            route["requests"],
            route["failed"],
            f"{route['generated_tokens_per_second']:.1f}",
            ms(route.get("time_to_first_token", {}).get("p50")),
            ms(route.get("time_to_first_token", {}).get("p99")),
        )
        for result in _in_levels(results)
        for route in result.get("by_route", ())
    ]
    if rows:
        yield ""
        header = ("ROUTE IN THE MIX", "LOAD", "REQUESTS", "FAILED", "TOKENS/S", "FIRST TOKEN P50 MS", "P99 MS")
        yield from render.table(header, rows)


def _unlike(results: Sequence[Document], short: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning if the answers of targets differ in length, because a target that stops early seems fast."""
    lengths: dict[str, list[int]] = {}
    for result in results:
        tokens, answers = lengths.setdefault(short[result["target"]], [0, 0])
        known = result["succeeded"] - result["without_usage"]
        lengths[short[result["target"]]] = [tokens + result["generated_tokens"], answers + known]
    means = {name: tokens / answers for name, (tokens, answers) in lengths.items() if answers}
    if len(means) > 1 and max(means.values()) > UNLIKE * min(means.values()):
        yield ""
        said = ", ".join(f"{name} {mean:.1f}" for name, mean in means.items())
        yield f"Answers differ in length (mean tokens: {said}), so the ratios compare different work."
        yield "To make them equal: --ignore-eos"


def _errors(document: Document) -> Iterator[str]:
    counts: dict[str, int] = {}
    for result in document["results"]:
        for kind, count in result["errors"].items():
            counts[kind] = counts.get(kind, 0) + count
    if counts:
        yield ""
        examples = document["error_examples"]
        yield from render.table(("ERROR", "COUNT", "EXAMPLE"), [(k, n, examples.get(k)) for k, n in counts.items()])
    if document["interrupted"]:
        left = sum(result.get("unfinished", 0) for result in document["results"])
        yield ""
        yield f"Interrupted: these are the figures so far; {counted(left, 'request', 'was', 'were')} unanswered."


def ms(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1000:.1f}"


def ratio(result: Document, name: str) -> str | None:
    found = result["relative"].get(name)
    return None if found is None else f"{found:.2f}x"
