"""Percentiles, pauses between tokens, rows and files: pure, and beside other people's arithmetic."""

from __future__ import annotations

import csv
import random
import re
import statistics
import sys
from array import array
from pathlib import Path

import numpy
import pytest

from firectl.bench import Load, measure, rows
from firectl.bench.figures import figures_of, percentile, spread
from firectl.bench.files import check_plot, write_csv, write_plot
from firectl.bench.generator import LoadRound
from firectl.bench.report import BenchReport
from firectl.bench.samples import ERRORS, Sample
from tests.bench.model_server import target
from tests.client.script_server import ScriptServer


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101, 1000])
def test_percentiles_are_numpys(count: int) -> None:
    numbers = [random.Random(count).expovariate(1) for _ in range(count)]
    for percent in (0, 50, 90, 95, 99, 100):
        assert percentile(sorted(numbers), percent) == pytest.approx(float(numpy.percentile(numbers, percent)))


def test_a_spread_is_of_all_numbers() -> None:
    found = spread([3.0, 1.0, 2.0])
    assert found is not None
    assert (found.count, found.mean, found.p50, found.max) == (3, 2.0, 2.0, 3.0)
    assert spread([]) is None


def sample(arrivals: list[float], tokens: int | None) -> Sample:
    return Sample("r", 0.0, sent=0.0, done=9.0, arrivals=array("d", arrivals), generated_tokens=tokens)


def test_a_piece_for_each_token_makes_each_pause_a_latency() -> None:
    assert sample([1.0, 1.5, 3.5], 3).inter_token_latencies() == [0.5, 2.0]


def test_pieces_of_several_tokens_share_their_pauses_among_them() -> None:
    found = sample([1.0, 2.0, 4.0], 9).inter_token_latencies()
    assert found == [0.25, 0.5]
    assert statistics.mean(found) == pytest.approx((4.0 - 1.0) / (9 - 1))


def test_pieces_that_come_together_share_the_wait_for_them() -> None:
    found = sample([1.0, 2.0, 2.0001, 2.0002, 4.0], 5).inter_token_latencies()
    assert found == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2.0], abs=1e-3)
    assert sum(found) == pytest.approx(3.0)
    # Those at the beginning had no wait of their own to be seen.
    found = sample([1.0, 1.0, 1.0001, 2.5], 7).inter_token_latencies()
    assert found == pytest.approx([0.25, 0.25, 0.25])
    assert sample([1.0, 1.0, 1.0], 3).inter_token_latencies() == [0.0, 0.0]


def test_pauses_are_taken_as_they_are_where_tokens_are_unknown_or_fewer() -> None:
    assert sample([1.0, 2.0, 4.0], None).inter_token_latencies() == [1.0, 2.0]
    assert sample([1.0, 2.0, 4.0], 2).inter_token_latencies() == [1.0, 2.0]
    assert sample([1.0], 5).inter_token_latencies() == []


@pytest.mark.parametrize(
    ("lag", "latency", "late"),
    [(0.04, 0.01, False), (0.06, 0.01, True), (0.06, 1.0, False), (0.09, 1.0, False), (0.11, 1.0, True)],
)
def test_requests_were_sent_late_where_the_lag_is_long_in_itself_and_beside_the_answers(
    lag: float, latency: float, late: bool
) -> None:
    # Two of fifty: the 99th percentile is theirs.
    lags = [0.0] * 48 + [lag] * 2
    samples = [Sample("r", due=at, sent=at + each, done=at + each + latency) for at, each in enumerate(lags)]
    assert figures_of([LoadRound(0.0, 60.0, samples)], has_rate=True).sent_late is late
    assert not figures_of([LoadRound(0.0, 60.0, samples)]).sent_late


@pytest.fixture
def report(server: ScriptServer) -> BenchReport:
    targets = [target(server, "good"), target(server, "good", "http_429", name="two")]
    return measure(targets, Load(concurrency=(1, 2), requests=4, rounds=1, warmup=0))


def test_rows_are_the_document_made_flat(report: BenchReport, tmp_path: Path) -> None:
    write_csv(report, tmp_path / "figures.csv")
    with (tmp_path / "figures.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    flat = list(rows(report))
    assert [(row["target"], row["route"], row["concurrency"]) for row in read] == [
        (name, route, level)
        for level in ("1", "2")
        for name, route in (("good", "good"), ("two", "2 routes"), ("two", "good"), ("two", "http_429"))
    ]
    document = report.to_document()["results"][0]
    assert float(read[0]["time_to_first_token_p99"]) == document["time_to_first_token"]["p99"]
    assert [row["errors_http_429"] for row in read[:4]] == ["", "2", "", "2"]
    assert flat[0]["relative_qps"] == 1.0


@pytest.mark.parametrize(("name", "begins"), [("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")])
def test_a_plot_is_an_image_of_every_target(report: BenchReport, tmp_path: Path, name: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    write_plot(report, tmp_path / name)
    image = (tmp_path / name).read_bytes()
    assert image.startswith(begins)
    assert len(image) > 5000
    if name.endswith(".svg"):
        # Letters are drawn as outlines, and what they spell stands beside them.
        texts = re.findall(r"<!-- (.*?) -->", image.decode())
        for shown in ("good", "two"):
            assert [text for text in texts if text.startswith(shown)] == [shown, f"{shown}, p50", f"{shown}, p99"]


def test_without_the_library_nothing_can_be_plotted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError):
        check_plot()


def test_the_page_has_every_kind_of_error() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
    assert [f"| `{kind}` | {meaning} |" in page for kind, meaning in ERRORS.items()] == [True] * len(ERRORS)
