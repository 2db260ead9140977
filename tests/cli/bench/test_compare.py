"""`cli/bench/compare.py`: which ways are compared, where, and how the comparison reads."""

from __future__ import annotations

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
