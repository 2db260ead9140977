"""`cli/commands/talk/bench.py`: what a run writes for people, for scripts and into files."""

from __future__ import annotations

import csv
import re
import signal
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from firectl.bench.plan import arrivals
from tests.cli.bench.replies import FIRST, GOOD, OTHER, PATH, ROUTE, as_golden, paced
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

THIRD = "accounts/acme/models/o#accounts/acme/deployments/d"
MIX = f"""\
ROUTE IN THE MIX  LOAD  REQUESTS  FAILED  TOKENS/S  FIRST TOKEN P50 MS  P99 MS
{ROUTE}  100/s  28  0  #  #  #
{OTHER}  100/s  9  0  #  #  #
{THIRD}  100/s  3  0  #  #  #
"""
SPREAD = ["count", "mean", "p50", "p90", "p95", "p99", "max"]


def test_json_is_a_document_whose_figures_agree(cli: Cli, api: Api, tmp_path: Path) -> None:
    api.on("POST", PATH, FIRST, GOOD)
    table = tmp_path / "figures.csv"
    ran = cli("bench", ROUTE, "--concurrency", "1,2", "--requests", "6", "-o", "json", "-q", "--csv", str(table))
    assert (ran.code, ran.err) == (0, "")
    assert list(ran.json) == ["load", "interrupted", "results", "error_examples"]
    assert (ran.json["interrupted"], ran.json["error_examples"]) == (False, {})
    for result, streams in zip(ran.json["results"], (1, 2), strict=True):
        assert list(result) == [
            "target", "routes", "concurrency", "requests", "succeeded", "failed", "errors", "seconds", "qps",
            "prompt_tokens", "generated_tokens", "prompt_tokens_per_second", "generated_tokens_per_second",
            "without_usage", "time_to_first_token", "inter_token_latency", "end_to_end_latency", "relative", "rounds",
        ]  # fmt: skip
        assert (result["target"], result["routes"], result["concurrency"]) == (ROUTE, [ROUTE], streams)
        assert (result["requests"], result["succeeded"], result["generated_tokens"]) == (6, 6, 30)
        assert result["qps"] * result["seconds"] == pytest.approx(6, rel=1e-3)
        for name in ("time_to_first_token", "inter_token_latency", "end_to_end_latency"):
            assert list(result[name]) == SPREAD
    assert len(table.read_text().splitlines()) == 3


def test_a_mix_arrives_by_chance_the_first_route_the_hottest_and_is_drawn(cli: Cli, api: Api, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table, plot = tmp_path / "figures.csv", tmp_path / "figures.svg"
    api.on("POST", PATH, FIRST, FIRST, FIRST, paced())
    rate = ("--rate", "100", "--arrival", "poisson", "--requests", "40", "--warmup", "0", "--seed", "9")
    files = ("--csv", str(table), "--plot", str(plot))
    ran = cli("bench", ROUTE, "n#d", "o#d", "--mix", "zipf", *rate, *files)
    assert ran.code == 0, ran
    assert as_golden(ran.out.split("\n\n")[2]) == as_golden(MIX)
    sent = Counter(request.json["model"] for request in api.changes[3:])
    assert sent == {ROUTE: 28, OTHER: 9, THIRD: 3}
    with table.open(newline="") as file:
        whole = next(csv.DictReader(file))
    # A round is over when its next request would be due: by chance after another time than 40 / 100 s.
    due = next(islice(arrivals(100, "poisson", Random("9/arrivals/0/0")), 40, None))
    assert float(whole["seconds"]) >= due > 0.46
    assert float(whole["send_lag_p50"]) >= 0
    assert f"Wrote {plot}" in ran.err.splitlines()
    assert {"mix of 3", "mix of 3, p50", "mix of 3, p99", "requests per second"} <= {
        *re.findall(r"<!-- (.*?) -->", plot.read_text())
    }


def test_a_generator_that_could_not_keep_up_says_that_its_figures_are_its_own(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, paced())
    process = cli.begin("bench", ROUTE, "--rate", "50", "--requests", "60", "--warmup", "0")
    api.server.until(lambda _: len(api.changes) >= 5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.4)  # so long the machine had something else to do: 20 requests become due, most of them too long ago
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out
    [said] = [line for line in err.splitlines() if line.startswith("Warning: ")]
    shown = re.fullmatch(
        rf"Warning: {re.escape(ROUTE)}, 50 requests/s: one request in a hundred was sent (\d+\.\d) ms late or more "
        r"\(send_lag\), so the load was lower than requested: use a lower --rate, or an idle machine",
        said,
    )
    assert shown, said
    assert float(shown[1]) > 200
