"""`cli/bench/flags.py`: what cannot be measured is refused before anything is sent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.bench.replies import FIRST, GOOD, PATH, ROUTE
from tests.cli.conftest import Cli
from tests.cli.hosted import Api


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
        ((ROUTE, "--mix", "zipf"), "needs several routes"),
        ((ROUTE, "--stream", "false"), "--stream=false"),
        ((ROUTE, "--rate", "fast"), "not a number"),
        ((ROUTE, "--prompt-tokens", "20", "--prompt-characters", "20"), "exclude"),
        ((ROUTE, "--max-tokens", "many"), "uniform:50-150"),
        ((ROUTE, "--mix", "some"), "zipf"),
        ((ROUTE, "--max-errors", "101%"), "more than 100%"),
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
