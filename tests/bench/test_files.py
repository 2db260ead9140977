"""A report as CSV and as a plot (`bench/files.py`)."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from firectl.bench import Load, measure, rows
from firectl.bench.files import write_csv, write_plot
from firectl.bench.report import BenchReport
from tests.bench.model_server import target
from tests.client.script_server import ScriptServer


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
