"""A folder's hash is its content's: not its name, its times or its order."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from firectl.errors import InputError
from firectl.lora.read.hashing import content_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "a").write_bytes(b"one")
    (made / "b").write_bytes(b"two")
    return made


def test_a_copy_under_another_name_and_time_has_the_same_hash(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    os.utime(copy / "a", (0, 0))
    assert content_hash(copy) == content_hash(folder)
    assert content_hash(folder, ["b", "a"]) == content_hash(folder)
    # Adapters already stored are known by this.
    assert content_hash(folder) == "sha256:d9204dfa99ec6c9c694a2f57eff610bf2ddfd4415604a751b00cbbfce7987aff"


def test_any_other_byte_name_or_split_has_another_hash(folder: Path) -> None:
    seen = {content_hash(folder)}
    for change in (
        lambda: (folder / "a").write_bytes(b"onf"),
        lambda: (folder / "a").write_bytes(b"onft"),
        lambda: (folder / "b").write_bytes(b"wo"),
        lambda: (folder / "a").rename(folder / "c"),
        lambda: (folder / "d").write_bytes(b""),
        lambda: (folder / "b").unlink(),
    ):
        change()
        assert content_hash(folder) not in seen
        seen.add(content_hash(folder))


def test_only_the_files_asked_for_count(folder: Path) -> None:
    before = content_hash(folder, ["a"])
    (folder / "b").write_bytes(b"changed")
    (folder / "sub").mkdir()
    assert content_hash(folder, ["a"]) == before


def test_a_missing_file_or_a_link_out_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'c' is missing"):
        content_hash(folder, ["c"])
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "c").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="'c' is a link to something outside"):
        content_hash(folder)
    with pytest.raises(InputError, match="does not exist"):
        content_hash(tmp_path / "none")


def test_hashing_ends_between_two_pieces_when_it_is_told_to(folder: Path) -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise InterruptedError

    with (folder / "a").open("wb") as file:
        file.truncate(1 << 40)  # a hole: to read it all would take many minutes
    with pytest.raises(InterruptedError):
        content_hash(folder, check=check)
