"""Counts in words."""

from __future__ import annotations

from firectl.cli.output.counted import counted


def test_one_is_singular_and_any_other_number_plural() -> None:
    assert [counted(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [counted(count, "replica", "is", "are") for count in (1, 3)] == ["1 replica is", "3 replicas are"]
