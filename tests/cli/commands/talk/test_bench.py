"""`firectl bench`: what is refused before anything is sent, how figures are written, and which exit code they give."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from firectl.bench.plan import arrivals
from tests.bench.model_server import REPLIES, USAGE, piece, stream
from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import NOT_FOUND, Api
from tests.client.script_server import HANG, Reply, answer

PATH = "/inference/v1/chat/completions"
ROUTE = "accounts/acme/models/m#accounts/acme/deployments/d"
OTHER = "accounts/acme/models/n#accounts/acme/deployments/d"
THIRD = "accounts/acme/models/o#accounts/acme/deployments/d"
GOOD = REPLIES["good"]
FIRST = REPLIES["whole"]
"""What answers the one request before the load."""

TEXT = """\
m#d = accounts/acme/models/m#accounts/acme/deployments/d
n#d = accounts/acme/models/n#accounts/acme/deployments/d

TARGET  LOAD       REQUESTS  FAILED  QPS  PROMPT TOKENS/S  TOKENS/S  TOKENS/S TO FIRST
m#d     2 streams  4  0  #  #  #  1.00x
n#d     2 streams  4  0  #  #  #  #x

MILLISECONDS         TARGET  LOAD       P50  P90  P95  P99  P50 TO FIRST
time to first token  m#d     2 streams  #  #  #  #  1.00x
time to first token  n#d     2 streams  #  #  #  #  #x
between tokens       m#d     2 streams  #  #  #  #  1.00x
between tokens       n#d     2 streams  #  #  #  #  #x
end to end           m#d     2 streams  #  #  #  #  1.00x
end to end           n#d     2 streams  #  #  #  #  #x
"""
MIX = f"""\
ROUTE IN THE MIX  LOAD  REQUESTS  FAILED  TOKENS/S  FIRST TOKEN P50 MS  P99 MS
{ROUTE}  100/s  28  0  #  #  #
{OTHER}  100/s  9  0  #  #  #
{THIRD}  100/s  3  0  #  #  #
"""
SPREAD = ["count", "mean", "p50", "p90", "p95", "p99", "max"]


def as_golden(text: str) -> list[list[str]]:
    """Lines as words, measured numbers as #: their values and so their columns are another each time."""
    # The first target is the measure of the others, always 1.00x; another can come to that by chance.
    lines = [re.sub(r"\b(?!1\.00x)\d+\.\d+", "#", line) for line in text.splitlines()]
    lines = [line.replace("1.00x", "#x") if "n#d " in line else line for line in lines]
    return [re.split(r" {2,}", line) for line in lines]


def paced() -> Reply:
    """An answer of two pieces, the second a moment after the first."""
    whole = stream(piece("x") + piece("x", USAGE) + "data: [DONE]\n\n").raw
    cut = whole.index(b"data: ", whole.index(b"data: ") + 1)

    def rest() -> bytes:
        time.sleep(0.005)
        return whole[cut:]

    return Reply(whole[:cut], then=rest)


def begin(*argv: str) -> subprocess.Popen[str]:
    """The command line in a process of its own, which can be sent signals."""
    command = [sys.executable, "-m", "firectl", *argv]
    return subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_routes_side_by_side_as_text(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, FIRST, paced())
    ran = cli("bench", ROUTE, "n#d", "--concurrency", "2", "--requests", "4", "--seed", "7")
    assert ran.code == 0, ran
    assert as_golden(ran.out) == as_golden(TEXT)
    said = ran.err.splitlines()
    assert said[0] == f"Route: {OTHER}"
    assert "2 targets, 2 streams; to send the same again: --seed 7" in said
    assert sum(line.startswith(("m#d, 2 streams, round", "n#d, 2 streams, round")) for line in said) == 4


def test_ratios_of_answers_of_unlike_lengths_are_said_to_be_that(cli: Cli, api: Api) -> None:
    short = USAGE | {"completion_tokens": 2}
    end = "data: [DONE]\n\n"
    api.on("POST", PATH, FIRST, FIRST, stream(piece("x") + piece("x", short) + end), GOOD)
    ran = cli("bench", ROUTE, "n#d", "--requests", "1", "--rounds", "1", "--warmup", "0")
    assert ran.code == 0, ran
    assert ran.out.endswith(
        "Answers were not equally long (tokens on average: m#d 2.0, n#d 5.0), so the ratios are of unlike work.\n"
        "To make them equal: --ignore-eos\n"
    )


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
    process = begin("bench", ROUTE, "--rate", "50", "--requests", "60", "--warmup", "0")
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
        r"\(send_lag\); the load was not the one that was asked for, so take a lower --rate, or a machine with nothing "
        r"else to do",
        said,
    )
    assert shown, said
    assert float(shown[1]) > 200


def test_a_first_request_comes_before_the_load_and_is_marked_as_a_probe(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, GOOD)
    cli("bench", ROUTE, "--requests", "2", "--warmup", "0")
    assert [request.headers.get("x-firectl-probe") for request in api.changes] == ["1", None, None]
    assert {request.json["model"] for request in api.changes} == {ROUTE}


def test_prompts_in_tokens_are_sized_by_what_the_server_counts(cli: Cli, api: Api) -> None:
    def tokens(count: int) -> Reply:
        return answer(200, {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": count}})

    # A template of 10 tokens, and one token for every 4 characters.
    api.on("POST", PATH, tokens(11), tokens(25), tokens(125), GOOD)
    ran = cli("bench", ROUTE, "--requests", "1", "--warmup", "0", "--prompt-tokens", "60")
    assert ran.code == 0, ran
    assert len(api.changes[-1].json["messages"][0]["content"]) == (60 - 10) * 4


@pytest.mark.parametrize("kind", ["http_429", "http_503", "connection", "cut_short", "wrong_answer"])
def test_errors_are_shown_by_kind_and_too_many_are_exit_code_1(cli: Cli, api: Api, kind: str) -> None:
    api.on("POST", PATH, FIRST, GOOD, GOOD, GOOD, REPLIES[kind], GOOD)
    flags = ("bench", ROUTE, "--requests", "8", "--warmup", "0", "-o", "json")
    ran = cli(*flags)
    assert ran.code == 1
    assert ran.json["results"][0]["errors"] == {kind: 1}
    assert ran.json["error_examples"][kind]
    assert json.loads(ran.err.splitlines()[-1])["error"]["message"].startswith("1 of 8 requests failed")
    api.on("POST", PATH, FIRST, GOOD, GOOD, GOOD, REPLIES[kind], GOOD)
    borne = cli(*flags[:-2], "--max-errors", "1")
    assert borne.code == 0
    assert re.search(rf"^{kind} +1 ", borne.out, re.MULTILINE)


def test_nothing_but_errors_is_given_up_and_exit_code_1(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, REPLIES["http_429"])
    ran = cli("bench", ROUTE, "--requests", "1000", "--max-errors", "100%", "--concurrency", "5")
    assert ran.code == 1
    assert "given up" in ran.err
    assert "http_429" in ran.out
    assert len(api.changes) < 30


def test_a_ctrl_c_before_the_load_has_begun_ends_it_without_a_complaint_of_pythons(
    cli: Cli, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("POST", PATH, FIRST)

    def interrupted(work: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run", interrupted)
    ran = cli("bench", ROUTE, "--requests", "3")
    assert ran.code == 130
    assert "Warning" not in ran.err


def test_a_route_that_is_not_there_is_exit_code_3_before_any_load(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, NOT_FOUND)
    ran = cli("bench", ROUTE)
    assert (ran.code, ran.out, len(api.changes)) == (3, "", 1)
    assert f"Hint: firectl route check '{ROUTE}' --live" in ran.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "no route to measure"),
        (("m#",), "#"),
        (("m#d", "m#d"), "named twice"),
        ((ROUTE, "--concurrency", "0"), "above 0"),
        ((ROUTE, "--concurrency", "1,1"), "twice"),
        ((ROUTE, "--concurrency", "1.5"), "whole"),
        ((ROUTE, "--concurrency", "2", "--rate", "5"), "exclude"),
        ((ROUTE, "--arrival", "poisson"), "--rate"),
        ((ROUTE, "--max-in-flight", "3"), "--rate"),
        ((ROUTE, "--mix", "zipf"), "there is one"),
        ((ROUTE, "--stream", "false"), "--stream=false"),
        ((ROUTE, "--rate", "fast"), "not a number"),
        ((ROUTE, "--prompt-tokens", "20", "--prompt-characters", "20"), "exclude"),
        ((ROUTE, "--max-tokens", "many"), "uniform:50-150"),
        ((ROUTE, "--mix", "some"), "zipf"),
        ((ROUTE, "--max-errors", "101%"), "more than all"),
        ((ROUTE, "--max-errors", "-1"), "neither"),
        ((ROUTE, "--prompts", "/nowhere/prompts.txt"), "no such file"),
        ((ROUTE, "--csv", "/nowhere/figures.csv"), "no such folder"),
        ((ROUTE, "--plot", "figures.pdf"), ".svg"),
        ((ROUTE, "--model", "m"), "--compare"),
        (("--compare", "live-merge"), "--model"),
        (("--compare", "slow", "--model", "m"), "'slow'"),
        (("--compare", "base,base", "--model", "m"), "twice"),
        (("--compare", "base", "--model", "m", ROUTE), "its own routes"),
        ((ROUTE, "-o", "name"), "cannot write"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_nothing_is_sent(
    cli: Cli, api: Api, argv: tuple[str, ...], says: str
) -> None:
    ran = cli("bench", *argv)
    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert says in ran.err
    assert "Error:" in ran.err


def test_comparing_on_the_hosted_service_is_refused_with_the_way_to_do_it(cli: Cli, api: Api) -> None:
    ran = cli(
        "bench", "--compare", "live-merge,multi-lora", "--model", "m",
        env={"FIREWORKS_BASE_URL": "https://api.fireworks.ai"},
    )  # fmt: skip
    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert "bill" in ran.err
    assert "firectl bench ROUTE ROUTE" in ran.err


def test_a_plot_without_its_library_is_refused_with_the_command_that_installs_it(
    cli: Cli, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = cli("bench", ROUTE, "--plot", "figures.png")
    assert (ran.code, api.asked) == (2, [])
    assert "Hint: pip install 'firectl[plot]'" in ran.err


def test_prompts_from_a_file_are_what_is_sent(cli: Cli, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('"one"\n{"prompt": "two"}\n')
    api.on("POST", PATH, FIRST, GOOD)
    assert cli("bench", ROUTE, "--prompts", str(file), "--requests", "2", "--warmup", "0").code == 0
    assert {request.json["messages"][0]["content"] for request in api.changes[1:]} == {"one", "two"}
    file.write_text("{}\n")
    assert "line 1" in cli("bench", ROUTE, "--prompts", str(file)).err


def test_ctrl_c_prints_what_there_is(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, FIRST, GOOD, GOOD, GOOD, HANG)
    process = begin("bench", ROUTE, "--requests", "9", "--warmup", "0", "-o", "json")
    api.server.until(lambda _: len(api.changes) >= 5)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - started < 1
    document = json.loads(out)
    assert document["interrupted"] is True
    assert (document["results"][0]["succeeded"], document["results"][0]["unfinished"]) == (3, 1)
    assert json.loads(err.splitlines()[-1])["error"]["message"] == "interrupted"
    assert "Traceback" not in err
    assert KEY not in out + err
