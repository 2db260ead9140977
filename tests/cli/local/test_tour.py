"""The tour of quickstart: which settings reach its commands, what is shown, and how a failed step ends it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from firectl.cli.app import App
from firectl.cli.local.tour import SHOWN, Tour, take
from firectl.errors import FirectlError
from firectl.samples import FOLDER


def test_a_tour_shows_its_commands_and_keeps_the_callers_service_out(tmp_path: Path) -> None:
    shown: list[str] = []
    environ = {**os.environ, "FIREWORKS_API_KEY": "fw_not_for_here", "FIREWORKS_PROFILE": "work"}
    tour = Tour(tmp_path / "a home", FOLDER, shown.append, environ, ("--quiet",))
    assert tour.env["FIREWORKS_HOME"] == str(tmp_path / "a home")
    assert not {"FIREWORKS_API_KEY", "FIREWORKS_PROFILE"} & tour.env.keys()
    tour.leave()
    assert shown == [f"export FIREWORKS_HOME='{tmp_path}/a home'", "$ firectl local down".removeprefix("$ ")]


def test_a_step_that_fails_names_its_command_and_where_its_log_is(tmp_path: Path) -> None:
    (tmp_path / "local").write_text("not a folder")
    tour = Tour(tmp_path, FOLDER, lambda line: None, os.environ)
    with pytest.raises(FirectlError, match=r"failed with exit code \d+: firectl local up") as caught:
        tour.run(("sample-pirate",), "Hello!")
    assert caught.value.hint == f"FIREWORKS_HOME={tmp_path} firectl local logs"


def test_the_end_says_how_to_stop_the_platform_and_how_to_use_it_from_this_shell(tmp_path: Path) -> None:
    home = tmp_path / "a home" / "quickstart"
    home.mkdir(parents=True)
    (home / "local").write_text("not a folder")
    app = App({**os.environ, "FIREWORKS_HOME": str(home.parent)})
    with pytest.raises(FirectlError):
        take(app, "Hello!", teardown=False)
    there = f"FIREWORKS_HOME={shlex.quote(str(home))} firectl local"
    assert app.left_running == [
        f"The quickstart's platform is still running. To stop it: {there} down",
        f'To use it in this shell: eval "$({there} env)"',
    ]


def test_the_answers_are_a_table_by_how_they_were_served() -> None:
    def row(model: str, route: str, answer: str) -> dict[str, str]:
        return {"model": f"accounts/a/models/{model}", "deployment": "d", "route": route, "answer": answer}

    document = {
        "question": "Hello!",
        "base": row("base", "r0", "Hi"),
        "live_merge": row("pirate", "r1", "Ahoy"),
        "multi_lora": [row("poet", "r2", "O")],
    }
    assert SHOWN.text is not None
    assert [line.split() for line in SHOWN.text(document)] == [
        [],
        ["Asked", "each", "of", "them:", "Hello!"],
        [],
        ["SERVED", "AS", "ADAPTER", "ANSWER", "ROUTE"],
        ["base", "model", "-", "Hi", "r0"],
        ["live", "merge", "pirate", "Ahoy", "r1"],
        ["multi-LoRA", "poet", "O", "r2"],
    ]
