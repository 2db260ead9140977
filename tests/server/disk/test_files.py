"""Names stay in their folder; bytes arrive beside it and enter it whole; a start tidies up."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from firectl.errors import ApiError, Code
from firectl.server.disk.files import (
    FileStore,
    IncomingFile,
    UploadSuperseded,
    check_filename,
    check_together,
    require_current,
)
from firectl.server.disk.paths import Paths
from firectl.server.disk.trash import Trash
from tests.server.disk.test_trash import put

FOLDER = "models/a/m.x"


def test_a_sweep_moves_folders_to_the_trash_and_restores_those_that_a_row_names(paths: Paths) -> None:
    model, upload = put(paths, "models/a/m.x"), put(paths, "uploads/a.m.x")
    inode = model.stat().st_ino
    store = FileStore(paths)
    store.sweep(())
    assert not model.parent.exists()
    assert not upload.parent.exists()
    aside = paths.trash / "models" / "a" / "m.x" / "weights"
    assert aside.stat().st_ino == inode
    assert (paths.trash / "uploads" / "a.m.x" / "weights").is_file()
    assert paths.trash.stat().st_mode & 0o077 == 0
    store.sweep({"models/a/m.x"})
    assert model.stat().st_ino == inode
    assert upload.is_file()
    assert Trash(paths).size() == 0


def test_links_and_files_that_are_no_folders_of_models_stay(paths: Paths, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (paths.models / "a").mkdir()
    (paths.models / "a" / "linked.x").symlink_to(outside)
    (paths.models / "notes.txt").write_text("mine")
    FileStore(paths).sweep(())
    assert (paths.models / "a" / "linked.x").is_symlink()
    assert (paths.models / "notes.txt").read_text() == "mine"


def test_a_remove_is_immediate_and_does_not_use_the_trash(paths: Paths) -> None:
    model, upload = put(paths, "models/a/m.x"), put(paths, "uploads/a.m.x")
    FileStore(paths).remove("models/a/m.x")
    assert not model.parent.exists()
    assert not upload.parent.exists()
    assert not paths.trash.exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("../x", "leads out of the model's folder with '..'"),
        ("a/../../x", "leads out of the model's folder with '..'"),
        ("..", "leads out of the model's folder with '..'"),
        ("/etc/passwd", "is an absolute path; names are relative to the model's folder"),
        ("C:/x", "is an absolute path; names are relative to the model's folder"),
        ("a\\b", "has a backslash; folders are written with /"),
        ("..\\x", "has a backslash; folders are written with /"),
        ("a//b", "has an empty part or '.'"),
        ("a/", "has an empty part or '.'"),
        ("./a", "has an empty part or '.'"),
        ("a\x00b", "has a control or invisible character"),
        ("a\nb", "has a control or invisible character"),
        ("a\u202eb", "has a control or invisible character"),
        ("a\ud800b", "has a control or invisible character"),
        (" a", "has a part that begins or ends with a space"),
        ("/".join("a" * 9), "is more than 8 folders deep"),
        ("a" * 256, "is too long: at most 255 bytes per part, 1024 in total"),
        ("ä" * 128, "is too long: at most 255 bytes per part, 1024 in total"),
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(name: str, problem: str) -> None:
    with pytest.raises(ApiError) as raised:
        check_filename(name)
    assert (raised.value.code, raised.value.message) == (
        Code.INVALID_ARGUMENT,
        f"file name {name[:200]!a} {problem}",
    )


@pytest.mark.parametrize(
    "name", ["config.json", "original/a b.json", "ünï.txt", "a?b#c%2F&d=e+f", ".gitattributes", "...x", "a" * 255]
)
def test_an_ordinary_name_is_accepted(name: str) -> None:
    check_filename(name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "A"], "file names 'A' and 'a' are the same file on some file systems"),
        (["é", "e\u0301"], "file names 'e\u0301' and 'é' are the same file on some file systems"),
        (["a/b", "a"], "'a' is both a file and a folder"),
        (["A/b/c", "a/B"], "'a/B' is both a file and a folder"),
    ],
)
def test_names_that_would_be_one_file_somewhere_are_refused(names: list[str], message: str) -> None:
    check_together([names[0], names[0], "x/y", "x/z"])
    with pytest.raises(ApiError) as raised:
        check_together(names)
    assert raised.value.message == message


def test_a_later_upload_supersedes_earlier_ones_of_the_same_file(paths: Paths) -> None:
    store = FileStore(paths)
    store.begin_upload(FOLDER, "f", "one")
    store.begin_upload(FOLDER, "g", "other")
    first = store.incoming(FOLDER, "f", "one")
    require_current(first)
    store.begin_upload(FOLDER, "f", "two")
    assert not first.exists()
    with pytest.raises(UploadSuperseded):
        require_current(first)
    require_current(store.incoming(FOLDER, "f", "two"))
    require_current(store.incoming(FOLDER, "g", "other"))
    assert store.is_arriving(FOLDER, "f")
    store.close_uploads(FOLDER)
    assert not store.is_arriving(FOLDER, "f")


def test_a_file_enters_its_folder_in_place_of_the_one_before(paths: Paths) -> None:
    store = FileStore(paths)
    for content in (b"old", b"new"):
        arrived = store.incoming(FOLDER, "deep/f", content.decode(), whole=True)
        arrived.write_bytes(content)
        store.enter(arrived, FOLDER, "deep/f")
        assert store.path(FOLDER, "deep/f").read_bytes() == content
        assert arrived.read_bytes() == content, "kept until the row says that it is complete"


def test_a_start_removes_whole_file_uploads_that_broke_and_keeps_the_parts_of_resumable_ones(paths: Paths) -> None:
    store = FileStore(paths)
    store.begin_upload(FOLDER, "f", "one")
    broken = store.incoming(FOLDER, "f", "two", whole=True)
    broken.touch()
    store.sweep({FOLDER})
    assert not broken.exists()
    assert store.incoming(FOLDER, "f", "one").exists()


def test_folders_that_hold_something_are_found(paths: Paths) -> None:
    for place in ("models/a/m.x", "uploads/a.m.x", "merged/b-a", "merged/.temporary"):
        put(paths, place)
    (paths.models / "a" / "empty.y").mkdir()
    store = FileStore(paths)
    assert store.found() == {"models/a/m.x", "uploads/a.m.x", "merged/b-a"}
    assert store.places({FOLDER}) == {"models/a/m.x", "uploads/a.m.x"}


def test_the_hash_follows_the_bytes_and_is_handed_from_part_to_part(tmp_path: Path) -> None:
    path = tmp_path / "f"
    first = IncomingFile(path)
    first.append(memoryview(b"abc"))
    known = first.hash_so_far
    first.close()
    for handed in (known, None, (2, hashlib.sha256())):
        part = IncomingFile(path, handed)
        assert (part.hash_so_far is None) == (handed is not known)
        part.append(memoryview(b"def"))
        assert part.sha256() == hashlib.sha256(b"abcdef").hexdigest()
        os.truncate(path, 3)
        part.close()


def test_bytes_for_a_file_that_was_removed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firectl.server.disk.files.WRITE_BEHIND", 4)
    incoming = IncomingFile(tmp_path / "f.one.session")
    incoming.append(memoryview(b"abc"))
    (tmp_path / "f.one.session").unlink()
    with pytest.raises(ApiError, match="this upload has ended: its model was deleted"):
        incoming.append(memoryview(b"d"))
    (tmp_path / "f.one.over").touch()
    with pytest.raises(UploadSuperseded):
        incoming.append(memoryview(b"d"))
    incoming.close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to(tmp_path / "target")
    with pytest.raises(OSError) as raised:  # noqa: PT011
        IncomingFile(tmp_path / "f")
    assert raised.value.errno == errno.ELOOP
    assert not (tmp_path / "target").exists()
