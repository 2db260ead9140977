"""The pages of docs/ and the README: width of prose, words, and links that lead somewhere. The words of our Python too.

What a page says is checked by the tests of its subject.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WIDTH = 100

AS_THEY_ARE = {"commands.md"}
"""Pages whose prose is not checked: it is generated from the commands."""

WRITTEN = [page for page in PAGES if page.name not in AS_THEY_ARE]
MODULES = [
    path
    for folder in ("src", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__).resolve()
]
NOT_PLAIN = re.compile(r"\b(anew|borne|whoever|whomever|meanwhile)\b", re.IGNORECASE)

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"#+ (.*)")


def by_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def outside_code(page: Path) -> list[tuple[int, str]]:
    """(number, text) of each line that is not in a code block."""
    lines = []
    code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            lines.append((number, line))
    assert not code, f"{page.name}: a code block is not closed"
    return lines


def anchors(page: Path) -> set[str]:
    """What may stand after `#` in a link to the page, by the rule of GitHub and its like."""
    titles = [found[1] for _, line in outside_code(page) if (found := _HEADING.fullmatch(line))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", WRITTEN, ids=by_name)
def test_prose_is_at_most_100_characters_wide(page: Path) -> None:
    wide = [f"line {number}" for number, line in outside_code(page) if len(line) > WIDTH and line[0] != "|"]
    assert wide == []


@pytest.mark.parametrize("page", WRITTEN, ids=by_name)
def test_words_are_plain(page: Path) -> None:
    found = [f"line {number}: {word}" for number, line in outside_code(page) for word in NOT_PLAIN.findall(line)]
    assert found == []


def test_words_of_modules_are_plain() -> None:
    found = [
        f"{by_name(path)}:{number}: {word}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for word in NOT_PLAIN.findall(line)
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_between_pages_lead_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for number, line in outside_code(page):
        for link in _LINK.findall(line):
            path, _, anchor = link.partition("#")
            if "://" in link:
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"line {number}: {link}")
    assert broken == []
