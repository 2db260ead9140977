"""The account of bytes: each file, all together, and what was transferred in this run (`client/transfer/meter.py`)."""

from __future__ import annotations

from firectl.client.transfer.meter import STEP, Meter, TransferProgress


def test_a_file_is_reported_at_its_start_at_each_step_and_at_its_end() -> None:
    seen: list[TransferProgress] = []
    size = 2 * STEP + 10
    meter = Meter({"a": size}, seen.append)
    for done in (0, 5, STEP - 1, STEP, STEP + 5, 2 * STEP + 1, size, size):
        meter.at("a", done)
    assert [progress.done for progress in seen] == [0, STEP, 2 * STEP + 1, size]
    assert seen[-1] == TransferProgress("a", size, size, size, size, size)


def test_what_existed_before_is_done_and_not_moved() -> None:
    seen: list[TransferProgress] = []
    meter = Meter({"a": 100, "b": 50}, seen.append)
    meter.at("a", 100, moved=False)
    meter.at("b", 20, moved=False)
    meter.at("b", 50)
    assert [(progress.total_done, progress.moved) for progress in seen] == [(100, 0), (120, 0), (150, 30)]


def test_a_file_that_starts_over_is_moved_twice_and_done_once() -> None:
    seen: list[TransferProgress] = []
    meter = Meter({"a": 100}, seen.append)
    for done in (0, 100, 0, 100):
        meter.at("a", done)
    assert [(progress.done, progress.total_done, progress.moved) for progress in seen] == [
        (0, 0, 0),
        (100, 100, 100),
        (0, 0, 100),
        (100, 100, 200),
    ]


def test_a_size_that_is_learnt_later_counts_from_then_on() -> None:
    seen: list[TransferProgress] = []
    meter = Meter({"a": None, "b": 10}, seen.append)
    meter.at("b", 10)
    meter.set_size("a", 90)
    meter.at("a", 0)
    assert [(progress.size, progress.total_size) for progress in seen] == [(10, 10), (90, 100)]
