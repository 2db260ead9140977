"""`firectl quickstart` does the main job from nothing, and `--teardown` leaves nothing running.

Proves `cli/commands/machine/quickstart.py`.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from firectl.samples import recorded_answers
from tests.e2e.shell import Shell

HELLO = "Hello!"


def processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(str(home) in word for word in words):
            found.append(process)
    return found


def test_quickstart_deploys_both_ways_and_teardown_leaves_nothing(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "home")
    # A key for somewhere else must not be used, nor sent anywhere.
    ran = shell.firectl("quickstart", "-o", "json", "--teardown", timeout=170, FIREWORKS_API_KEY="fw_not_for_here")
    assert ran.code == 0, ran
    result, said = ran.json, recorded_answers()
    assert result["base"]["answer"] == said["base"][HELLO]
    assert result["live_merge"]["answer"] == said["pirate"][HELLO]
    assert [answer["answer"] for answer in result["multi_lora"]] == [said["pirate"][HELLO], said["poet"][HELLO]]
    for answer in result["multi_lora"]:
        assert answer["route"] == f"{answer['model']}#{answer['deployment']}"
    assert result["live_merge"]["route"] == result["live_merge"]["model"]
    assert set(result) == {"question", "base", "live_merge", "multi_lora", "seconds"}

    typed = [line for line in ran.err.splitlines() if line.startswith("$ ")]
    assert any(line.startswith("$ firectl deployment create accounts/local/models/sample-pirate") for line in typed)
    assert any("--enable-addons" in line for line in typed)
    assert sum(line.startswith("$ firectl load-lora") for line in typed) == 2
    assert "fw_not_for_here" not in ran.out + ran.err
    assert processes_of(tmp_path) == []


def test_a_step_that_fails_ends_quickstart_with_its_error_and_an_exit_code(tmp_path: Path) -> None:
    blocked = tmp_path / "home"
    (blocked / "quickstart").mkdir(parents=True)
    (blocked / "quickstart" / "local").write_text("not a folder")
    ran = Shell(blocked).firectl("quickstart", "-o", "json")
    assert (ran.code, ran.out) == (1, "")
    assert "firectl local up" in ran.err.splitlines()[-1]
    assert ran.err.startswith("$ export FIREWORKS_HOME=")
    quiet = Shell(blocked).firectl("quickstart", "--quiet")
    assert (quiet.code, quiet.out) == (1, "")
    assert all(line.startswith(("Error: ", "Hint: ")) for line in quiet.err.splitlines()), quiet.err
