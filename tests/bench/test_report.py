"""The report of a run: ratios, the document and its rows (`bench/report.py`)."""

from __future__ import annotations

from array import array

import pytest

from firectl.bench import BenchTarget, Cell, Endpoint, Generator, Load, Mix, columns, report_of, rows
from firectl.bench.generator import LoadRound
from firectl.bench.samples import Sample

HERE = Endpoint("http://127.0.0.1:1/v1")


def answered(route: str, seconds: float) -> Sample:
    return Sample(route, 0.0, 0.0, seconds, array("d", [seconds / 2]), prompt_tokens=10, generated_tokens=4)


def run_of(*cells: tuple[str, list[Sample]]) -> Generator:
    """A run of which each target had one round of two seconds."""
    targets = [BenchTarget(name, tuple(dict.fromkeys(s.route for s in samples)), HERE) for name, samples in cells]
    run = Generator(targets, Load(requests=4))
    for cell, (_, samples) in zip(run.cells, cells, strict=True):
        cell.rounds.append(LoadRound(1.0, 3.0, samples))
    return run


def test_ratios_are_to_the_first_target_and_leave_out_what_was_not_measured() -> None:
    failed = Sample("b", 0.0, 0.0, 1.0, error="timeout", message="too slow")
    slow = [answered("b", 2.0), failed]
    report = report_of(run_of(("one", [answered("a", 1.0)] * 2), ("two", slow), ("none", [failed])))
    assert report.of("one").relative == dict.fromkeys(report.of("one").relative, 1.0)
    two = report.of("two").relative
    assert (two["qps"], two["end_to_end_latency_p50"], two["time_to_first_token_p50"]) == (0.5, 2.0, 2.0)
    assert report.of("none").relative == {
        "qps": 0.0,
        "prompt_tokens_per_second": 0.0,
        "generated_tokens_per_second": 0.0,
    }
    assert (report.requests, report.failed, report.errors) == (5, 2, {"timeout": "too slow"})
    with pytest.raises(KeyError, match="other"):
        report.of("other")


def test_the_document_has_the_load_and_every_figure_of_each_target() -> None:
    document = report_of(run_of(("mixed", [answered("a", 1.0), answered("b", 1.0)])), interrupted=True).to_document()
    assert document["load"]["requests"] == 4
    assert "seconds" not in document["load"]
    assert (document["interrupted"], "gave_up" in document) == (True, False)
    [result] = document["results"]
    assert (result["target"], result["routes"], result["mix"], result["concurrency"]) == (
        "mixed",
        ["a", "b"],
        str(Mix()),
        1,
    )
    assert (result["requests"], result["failed"], result["qps"], result["generated_tokens_per_second"]) == (2, 0, 1, 4)
    assert [entry["route"] for entry in result["by_route"]] == ["a", "b"]
    assert result["errors"] == {}
    assert result["end_to_end_latency"]["p99"] == 1.0
    assert "inter_token_latency" not in result


def test_rows_have_the_place_first_and_one_more_for_each_route() -> None:
    flat = list(rows(report_of(run_of(("mixed", [answered("a", 1.0), answered("b", 1.0)])))))
    assert [row["route"] for row in flat] == ["2 routes", "a", "b"]
    assert columns(flat)[:4] == ["target", "route", "concurrency", "rate"]
    assert {"end_to_end_latency_p50", "relative_qps"} <= set(columns(flat))


def test_a_run_without_rounds_has_a_report() -> None:
    run = Generator([BenchTarget("one", ("a",), HERE)], Load(requests=1))
    assert isinstance(run.cells[0], Cell)
    [result] = report_of(run).results
    assert (result.figures.requests, result.figures.qps, result.relative) == (0, 0.0, {})
