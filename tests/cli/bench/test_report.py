"""`cli/bench/report.py`: how figures read side by side."""

from __future__ import annotations

from tests.bench.model_server import USAGE, piece, stream
from tests.cli.bench.replies import FIRST, GOOD, OTHER, PATH, ROUTE, as_golden, paced
from tests.cli.conftest import Cli
from tests.cli.hosted import Api

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
        "Answers differ in length (mean tokens: m#d 2.0, n#d 5.0), so the ratios compare different work.\n"
        "To make them equal: --ignore-eos\n"
    )
