"""Which files are sent, and where files may be written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from firectl.client.transfer.files import read_range, scan, target
from firectl.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "sub" / "deep").mkdir(parents=True)
    (made / "config.json").write_bytes(b"{}")
    (made / "sub" / "deep" / "weights.safetensors").write_bytes(b"x" * 100)
    (made / "empty").write_bytes(b"")
    return made


def test_every_file_is_found_by_its_relative_name(folder: Path) -> None:
    assert [(file.name, file.size) for file in scan(folder)] == [
        ("config.json", 2),
        ("empty", 0),
        ("sub/deep/weights.safetensors", 100),
    ]


def test_hidden_files_and_caches_stay(folder: Path) -> None:
    for name in (".git/config", ".DS_Store", "__pycache__/a.pyc", "sub/.cache/x", "sub/__pycache__/b.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no")
    assert len(scan(folder)) == 3


def test_a_link_within_the_folder_is_sent_as_its_file(folder: Path) -> None:
    (folder / "link.json").symlink_to("config.json")
    linked = next(file for file in scan(folder) if file.name == "link.json")
    assert (linked.size, linked.path) == (2, (folder / "config.json").resolve())


@pytest.mark.parametrize("chain", [False, True])
def test_a_link_that_leaves_the_folder_is_refused(folder: Path, tmp_path: Path, chain: bool) -> None:
    (tmp_path / "secret").write_bytes(b"top")
    (folder / "b").symlink_to(tmp_path / "secret")
    if chain:
        (folder / "a").symlink_to("b")
    with pytest.raises(InputError) as caught:
        scan(folder)
    assert caught.value.message in ("a is a link that leaves the folder", "b is a link that leaves the folder")
    assert caught.value.hint == f"copy the files themselves: cp -rL {folder} COPY"


def test_other_things_that_cannot_be_sent_are_named(folder: Path, tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(InputError) as caught:
            scan(folder)
        (folder / name).unlink()
        return caught.value.message

    (folder / "loop").symlink_to("sub")
    assert refused("loop") == "loop is a link to a folder"
    (folder / "gone").symlink_to("nowhere")
    assert refused("gone") == "gone cannot be read: no such file or directory"
    (folder / "round").symlink_to("round")
    assert refused("round") == "round cannot be read: too many levels of symbolic links"
    os.mkfifo(folder / "pipe")
    assert refused("pipe") == "pipe is not a regular file"
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(folder)
        bound.bind("sock")
        os.chdir(here)
        assert refused("sock") == "sock is not a regular file"
    (folder / "line\nbreak").write_bytes(b"")
    assert "is not printable" in refused("line\nbreak")
    (folder / "back\\slash").write_bytes(b"")
    assert "backslash" in refused("back\\slash")
    os.close(os.open(os.fsencode(folder) + b"/bad\xff", os.O_CREAT))
    assert "is not printable" in refused(os.fsdecode(b"bad\xff"))


def test_a_folder_that_is_none_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "bare").mkdir()
    for name, said in (("no", "does not exist"), ("file", "is not a folder"), ("bare", "holds no files")):
        with pytest.raises(InputError, match=said):
            scan(tmp_path / name)


def test_a_range_is_read_in_small_chunks(tmp_path: Path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 5)
    (tmp_path / "w").write_bytes(content)
    (file,) = scan(tmp_path)
    chunks = list(read_range(file, 7, len(content)))
    assert b"".join(chunks) == content[7:]
    assert max(map(len, chunks)) == 1024 * 1024
    assert list(read_range(file, 0, 0)) == []


@pytest.mark.parametrize("change", ["grown", "shrunk", "rewritten", "replaced", "linked", "removed"])
def test_a_file_that_changed_since_it_was_seen_is_not_sent(tmp_path: Path, change: str) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"a" * 100)
    os.utime(path, ns=(1, 1))
    (file,) = scan(tmp_path)
    if change in ("replaced", "linked", "removed"):
        path.unlink()
    if change == "linked":
        (tmp_path / "other").write_bytes(b"a" * 100)
        path.symlink_to(tmp_path / "other")
    elif change != "removed":
        path.write_bytes(b"b" * {"grown": 200, "shrunk": 50}.get(change, 100))
    with pytest.raises(InputError, match=r"changed during the upload|cannot be read"):
        list(read_range(file, 0, 100))


def test_a_file_that_changes_while_it_is_read_never_gives_its_last_bytes(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"a" * (2 * 1024 * 1024))
    os.utime(path, ns=(1, 1))
    (file,) = scan(tmp_path)
    chunks = read_range(file, 0, file.size)
    assert len(next(chunks)) == 1024 * 1024
    with path.open("r+b") as other:
        other.write(b"b")
    with pytest.raises(InputError, match="w changed during the upload"):
        next(chunks)


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "", ".", "..", "a//b", "a/", "a/./b", "a\\b", "a\nb", "a\x00b", "link/x"],
)
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        target(folder, name)


def test_names_within_the_folder_are_allowed_before_it_is_there(tmp_path: Path) -> None:
    assert target(tmp_path / "new", "a/b.json") == tmp_path / "new" / "a" / "b.json"
