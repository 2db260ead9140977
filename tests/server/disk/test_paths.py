"""The folders of a platform are private, also when they were not before."""

from __future__ import annotations

import stat
from pathlib import Path

from firectl.server.disk.paths import Paths


def test_every_folder_is_made_and_private(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "local"
    Paths(home).create()
    made = [home, *home.iterdir()]
    assert sorted(path.name for path in made) == ["local", "logs", "merged", "models", "uploads"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}


def test_an_open_home_is_closed_and_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "f").write_text("kept")
    tmp_path.chmod(0o755)
    Paths(tmp_path).create()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert (tmp_path / "models" / "f").read_text() == "kept"
