"""Files are compared with what was stored: by their stamps, or by reading them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from firectl.lora.read.hashing import FileHash, file_hash
from firectl.server.disk.integrity import examine, untouched


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcde":
        (tmp_path / name).write_bytes(name.encode() * 10)
    return tmp_path


def stored(folder: Path) -> dict[str, FileHash]:
    return {path.name: file_hash(path) for path in sorted(folder.iterdir())}


def test_files_that_hold_what_was_stored_have_no_damage_and_their_stamps_say_so(folder: Path) -> None:
    found = examine(folder, stored(folder))
    assert found.damage is None
    assert untouched(folder, found.stamps)
    assert not untouched(folder, None)


def test_a_change_shows_in_the_stamp(folder: Path) -> None:
    stamps = examine(folder, stored(folder)).stamps
    (folder / "fresh").write_bytes(b"a" * 10)
    os.replace(folder / "fresh", folder / "a")
    assert not untouched(folder, stamps)
    (folder / "a").unlink()
    assert not untouched(folder, stamps)


def test_each_damage_is_named_and_only_the_first_three(folder: Path) -> None:
    files = stored(folder)
    (folder / "a").write_bytes(b"x" * 10)
    (folder / "b").write_bytes(b"b" * 9)
    (folder / "c").unlink()
    (folder / "d").unlink()
    sha256 = file_hash(folder / "a").sha256
    assert examine(folder, files).damage == (
        f"the file a is damaged: its sha256 is {sha256}, expected {files['a'].sha256}; "
        "the file b has 9 bytes, expected 10; the file c is missing; and 1 more files"
    )


def test_an_error_of_this_process_is_not_damage(folder: Path) -> None:
    def exhausted() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with pytest.raises(OSError, match="Too many open files"):
        examine(folder, stored(folder), exhausted)


def test_an_unreadable_file_is_damage(folder: Path) -> None:
    def unreadable() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    assert examine(folder, {"a": stored(folder)["a"]}, unreadable).damage == (
        "the file a cannot be read: Input/output error"
    )
