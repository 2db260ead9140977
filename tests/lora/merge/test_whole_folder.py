"""A folder appears whole or not at all, and what a dead process left is removed, what a living one holds is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.merge.whole_folder import whole_folder


def test_the_folder_appears_at_the_end_and_only_then(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with whole_folder(out) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text("x")
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "sub" / "file").read_text() == "x"


def write(out: Path, text: str, before_the_end: Callable[[], object]) -> None:
    with whole_folder(out) as partial:
        (partial / "file").write_text(text)
        before_the_end()


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", "x", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_one_that_came_first_wins_and_the_second_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(AdapterError, match="is there already"):
        write(out, "late", lambda: write(out, "early", lambda: None))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "file").read_text() == "early"


@pytest.mark.parametrize("name", ["out", "o[u]t*"])
def test_leftovers_are_removed_unless_someone_holds_them_or_they_are_new(tmp_path: Path, name: str) -> None:
    dead, fresh, other = (tmp_path / text for text in (f".{name}.dead.partial", f".{name}.new.partial", ".x.a.partial"))
    for folder in (dead, fresh, other):
        folder.mkdir()
        (folder / "file").write_text("x")
    os.utime(dead, (0, 0))
    os.utime(other, (0, 0))
    with whole_folder(tmp_path / name) as living:
        os.utime(living, (0, 0))
        with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / name):
            raise ZeroDivisionError
        assert living.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, fresh.name, other.name])
