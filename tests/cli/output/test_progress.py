"""Progress without a terminal: one line for each change; and times and sizes for people. tests/cli/test_terminal.py has
the live form."""

from __future__ import annotations

import io

from firectl.cli.output.output import Output
from firectl.cli.output.progress import Progress, duration, size
from firectl.client.transfer.meter import TransferProgress as Moved


def test_a_step_is_a_line_when_it_changes() -> None:
    err = io.StringIO()
    with Progress(Output(stderr=err)).steps("creating d") as steps:
        for state in ("CREATING", "CREATING", "READY", "CREATING"):
            steps.say(state)
    assert err.getvalue() == "CREATING\nREADY\nCREATING\n"


def test_progress_is_quiet_when_asked() -> None:
    err = io.StringIO()
    with Progress(Output(quiet=True, stderr=err)).steps("creating d") as steps:
        steps.say("CREATING")
    assert err.getvalue() == ""


def test_a_large_transfer_is_a_line_for_each_tenth_and_a_small_one_a_single_line() -> None:
    def lines(total: int) -> list[str]:
        err = io.StringIO()
        with Progress(Output(stderr=err)).transfer("uploading") as show:
            for done in range(0, total + 1, total // 40):
                show(Moved("a.bin", done, total, done, total, done))
        return err.getvalue().splitlines()

    assert lines(4_000) == ["uploading 100% of 4.0 kB (a.bin)"]
    assert lines(40_000_000) == [
        *(f"uploading {10 * tenth}% of 40.0 MB (a.bin {10 * tenth}%)" for tenth in range(10)),
        "uploading 100% of 40.0 MB (a.bin)",
    ]


def test_bytes_that_were_there_already_are_not_shown_as_moved() -> None:
    err = io.StringIO()
    with Progress(Output(stderr=err)).transfer("downloading") as show:
        for done in (40_000_000, 80_000_000):
            show(Moved(file="a", done=done, size=done, total_done=done, total_size=80_000_000, moved=0))
    assert err.getvalue() == "downloading 50% of 80.0 MB (a)\n"


def test_sizes_are_in_powers_of_ten() -> None:
    assert [size(count) for count in (0, 999, 1000, 1_234_567, 5 * 10**12, 10**16)] == [
        "0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 TB", "10000.0 TB",
    ]  # fmt: skip


def test_times_are_rounded_to_two_units() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.4, 59.6, 185, 4815)] == [
        "0 s", "59 s", "1 min 0 s", "3 min 5 s", "1 h 20 min",
    ]  # fmt: skip
