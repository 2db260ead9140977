"""Folders that no row names: moved to the trash by a rename, restored by another, removed only by a prune."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from firectl.server.disk.files import FileStore
from firectl.server.disk.paths import Paths
from firectl.server.disk.trash import Trash, bytes_in


def put(paths: Paths, folder: str, data: bytes = b"0123456789") -> Path:
    path = paths.home / folder / "weights"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_folder_that_is_there_is_not_replaced_by_one_in_the_trash(paths: Paths) -> None:
    put(paths, "models/a/m.x", b"old")
    store = FileStore(paths)
    store.sweep(())
    put(paths, "models/a/m.x", b"new")
    store.sweep({"models/a/m.x"})
    assert (paths.models / "a" / "m.x" / "weights").read_bytes() == b"new"
    store.sweep(())
    kept = {path.read_bytes() for path in paths.trash.rglob("weights")}
    assert kept == {b"old", b"new"}, "the second does not replace the first"


def test_a_prune_removes_only_the_trash_and_says_how_much_it_freed(paths: Paths) -> None:
    model = put(paths, "models/a/m.x")
    put(paths, "models/a/gone.x", b"x" * 1000)
    FileStore(paths).sweep({"models/a/m.x"})
    assert Trash(paths).size() == 1000
    assert Trash(paths).empty() == 1000
    assert model.is_file()
    assert Trash(paths).empty() == 0
    assert list(paths.home.glob("trash*")) == []


def test_a_prune_finishes_one_that_was_killed(paths: Paths) -> None:
    put(paths, "trash.0a1b2c3d/models/a/gone.x", b"x" * 7)
    put(paths, "trash.of-mine", b"mine")
    assert Trash(paths).size() == 7
    assert Trash(paths).empty() == 7
    assert (paths.home / "trash.of-mine" / "weights").is_file()


def test_a_prune_where_no_platform_was_makes_nothing(tmp_path: Path) -> None:
    assert Trash(Paths(tmp_path / "nowhere")).empty() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_trash_that_is_a_link_is_removed_and_its_target_is_not(paths: Paths, tmp_path: Path) -> None:
    outside = put(Paths(tmp_path / "outside"), "models/a/m.x")
    paths.trash.symlink_to(tmp_path / "outside")
    Trash(paths).empty()
    assert outside.is_file()
    assert not paths.trash.is_symlink()


def test_a_file_of_two_names_counts_once(paths: Paths) -> None:
    model = put(paths, "models/a/m.x")
    os.link(model, model.with_name("second"))
    assert bytes_in(paths.models) == 10
    assert bytes_in(paths.home / "nowhere") == 0


def test_sweeps_and_prunes_at_once_never_leave_half_a_model(paths: Paths) -> None:
    """A model that is set aside and brought back over and over is whole, or gone as a whole."""
    store, stop = FileStore(paths), threading.Event()
    folder = paths.models / "a" / "m.x"

    def prune() -> None:
        while not stop.wait(0.001):
            Trash(paths).empty()

    pruning = threading.Thread(target=prune)
    pruning.start()
    back = gone = 0
    end = time.monotonic() + 30
    try:
        while min(back, gone) < 5:
            assert time.monotonic() < end, f"brought back {back} times, gone {gone} times"
            for name in range(20):
                put(paths, "models/a/m.x").with_name(str(name)).write_bytes(b"x")
            store.sweep(())
            assert not folder.exists()
            store.sweep({"models/a/m.x"})
            if folder.exists():
                back += 1
                assert len(list(folder.iterdir())) == 21
            else:
                gone += 1
    finally:
        stop.set()
        pruning.join()
