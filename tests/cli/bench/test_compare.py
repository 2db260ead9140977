"""`cli/bench/compare.py`: which ways are compared, where, and how the comparison reads."""

from __future__ import annotations

import re

import pytest

from firectl.cli.bench.compare import VIEW, ways_of
from firectl.errors import InputError
from tests.cli.conftest import Cli
from tests.cli.hosted import Api


def test_comparing_on_the_hosted_service_is_refused_with_the_way_to_do_it(cli: Cli, api: Api) -> None:
    ran = cli(
        "bench", "--compare", "live-merge,multi-lora", "--model", "m",
        env={"FIREWORKS_BASE_URL": "https://api.fireworks.ai"},
    )  # fmt: skip
    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert "bill" in ran.err
    assert "firectl bench ROUTE ROUTE" in ran.err


def test_ways_are_words_separated_by_commas_each_once() -> None:
    assert ways_of("multi-lora,base") == ("multi-lora", "base")
    for text, says in (("slow", "expected live-merge, multi-lora, base, got 'slow'"), ("base,base", "named twice")):
        with pytest.raises(InputError, match=says):
            ways_of(text)


@pytest.mark.parametrize("ways", [("live-merge", "multi-lora"), ("multi-lora", "base")])
def test_a_column_is_a_way_and_a_row_what_was_measured(ways: tuple[str, ...]) -> None:
    def result(way: str) -> dict[str, object]:
        return {
            "target": way, "concurrency": 2, "requests": 4, "succeeded": 4, "failed": 0, "errors": {}, "qps": 1.0,
            "prompt_tokens_per_second": 1.0, "generated_tokens_per_second": 80.0, "generated_tokens": 20,
            "without_usage": 0, "relative": {}, "time_to_first_token": {"p50": 0.01, "p90": 1, "p95": 1, "p99": 1},
        }  # fmt: skip

    made = {
        "models": ["a", "b"], "deploy_seconds": {"live-merge": 3.0, "multi-lora": 2.0}, "load_lora_seconds": [0.5, 0.7],
    }  # fmt: skip
    document = {
        "comparison": made, "results": [result(way) for way in ways], "error_examples": {}, "interrupted": False,
    }  # fmt: skip
    assert VIEW.text is not None
    table = "\n".join(VIEW.text(document)).split("\n\n")[0].splitlines()
    columns = {
        "live-merge": ["LIVE MERGE", "merged into the base at deploy time", "1", "3.0 s", "10.0 ms", "80 tokens/s",
                       "2"],
        "multi-lora": ["MULTI-LORA", "loaded beside the base, applied at request time", "2 here",
                       "2.0 s, then 0.7 s a LoRA at most", "10.0 ms", "80 tokens/s", "1"],
        "base": ["BASE", "no LoRA", "0", "2.0 s", "10.0 ms", "80 tokens/s", "-"],
    }  # fmt: skip
    for line, *cells in zip(table, *(columns[way] for way in ways), strict=True):
        assert re.split(r" {2,}", line)[-len(ways) :] == cells
