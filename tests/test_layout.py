"""The page of the layout names what is there: the files of a new noun lie in folders that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_FILES = 9


def test_a_new_noun_is_a_few_files_in_places_that_exist() -> None:
    page = (ROOT / "docs" / "layout.md").read_text(encoding="utf-8")
    section = page.split("\n## Add a noun\n")[1].split("\n## ")[0]
    files = [ROOT / "src" / "firectl" / name for name in re.findall(r"^\| `([\w/]+\.py)` \|", section, re.MULTILINE)]
    assert 0 < len(files) <= MOST_FILES
    assert [file for file in files if not file.parent.is_dir()] == []
    assert {file.name for file in files if file.exists()} == {"app.py", "client.py", "nouns.py"}
