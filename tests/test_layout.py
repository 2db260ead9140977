"""docs/layout.md is true to the tree: its paths exist, and each step of its traces is reached from an earlier one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_house import SOURCE, imports_of, module_file

PAGE = (Path(__file__).parents[1] / "docs" / "layout.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:[a-z_]+/)*[a-z_]+\.py)`")
FURTHEST = 2
"""Imports between a step of the trace and the next: one file in between is not worth a step."""


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


NOUN = PATH.findall(section("Add a noun"))
"""Files of a noun that is to be added."""
MOST_FILES_OF_A_NOUN = 9


def steps(trace: str) -> list[tuple[str, list[str]]]:
    """Each numbered step of a trace with the files that it names."""
    items = re.split(r"^\d+\. ", section(trace), flags=re.MULTILINE)[1:]
    return [(item, PATH.findall(item)) for item in items]


def imported_by(place: str) -> set[str]:
    files = [module_file(found.module) for found in imports_of(SOURCE / place) if found.is_ours]
    # The table of commands names its pages, and imports the one that is typed.
    pages = (SOURCE / "cli" / "commands").glob("*/*.py") if place == "cli/tree.py" else ()
    return {path.relative_to(SOURCE).as_posix() for path in (*filter(None, files), *pages)}


def within_reach(places: list[str]) -> set[str]:
    found = set(places)
    for _ in range(FURTHEST):
        found |= {target for place in found for target in imported_by(place)}
    return found


@pytest.mark.parametrize("place", sorted(set(PATH.findall(PAGE)) - {"src/firectl/a/b.py", "tests/a/test_b.py", *NOUN}))
def test_a_path_of_the_page_exists(place: str) -> None:
    assert (SOURCE / place).is_file() or (Path(__file__).parents[1] / place).is_file()


@pytest.mark.parametrize(
    ("trace", "first", "last"),
    [
        ("Trace of one command", "__main__.py", "cli/output/output.py"),
        ("Trace of one request", "cli/main.py", "engine/engine.py"),
    ],
)
def test_each_step_of_a_trace_is_reached_from_an_earlier_one(trace: str, first: str, last: str) -> None:
    seen: list[str] = []
    lost = []
    for text, places in steps(trace):
        assert places, f"a step names no file: {text}"
        crosses = "Over HTTP" in text or "starts a process" in text
        for place in places:
            if seen and not crosses and place not in within_reach(seen):
                lost.append(place)
            seen.append(place)
    assert lost == []
    assert seen[0] == first
    assert "engine/schedule/scheduler.py" in seen
    assert seen[-1] == last


def test_the_glossary_is_short_enough_to_be_read() -> None:
    words = [line for line in section("Glossary").splitlines() if line.startswith("| ")]
    assert 10 <= len(words) - 1 <= 20


def test_a_new_noun_is_a_few_files_in_places_that_exist() -> None:
    table = re.findall(r"^\| `(.*?)` \|", section("Add a noun"), re.MULTILINE)
    files = [SOURCE / place for place in table]
    assert 0 < len(files) <= MOST_FILES_OF_A_NOUN
    assert [file for file in files if not file.parent.is_dir()] == []
    assert {file.name for file in files if file.is_file()} == {"app.py", "client.py", "nouns.py"}
    assert [place for place in set(NOUN) - set(table) if not (SOURCE / place).is_file()] == []
