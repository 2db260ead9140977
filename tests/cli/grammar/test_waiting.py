"""The flags of commands that can wait, as one value."""

from __future__ import annotations

import pytest

from firectl.cli.grammar.waiting import Waiting, waiting
from tests.cli.grammar.test_params import run


def test_a_wait_has_a_limit_in_seconds_and_perhaps_a_probe() -> None:
    assert run(waiting("10m"), "--wait")[1] == {"wait": Waiting(600.0, probe=True)}
    proving = run(waiting("10m", probe=True), "--wait-timeout", "90s", "--wait", "--no-probe")[1]
    assert run(waiting("10m"))[1] == {"wait": None}
    assert proving == {"wait": Waiting(90.0, probe=False)}


@pytest.mark.parametrize(("argv", "warns"), [(["--wait"], False), ([], True), (["--wait=false"], True)])
def test_a_limit_without_a_wait_is_a_warning(capsys: pytest.CaptureFixture[str], argv: list[str], warns: bool) -> None:
    run(waiting("10m"), "--wait-timeout", "5s", *argv)
    said = "Warning: --wait-timeout has no effect without --wait\n"
    assert capsys.readouterr().err == (said if warns else "")
