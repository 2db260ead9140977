"""The README's blocks, run as they stand: the tour in one shell, and the two commands that CI and newcomers type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from firectl.samples import recorded_answers
from tests.e2e.shell import Shell

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) tour\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def as_shell(language: str, block: str) -> str:
    return f"python - <<'PYTHON'\n{block}PYTHON\n" if language == "python" else block


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "home")
    yield shell
    shell.firectl("local", "down")


def test_the_tour_runs_as_it_stands_and_each_adapter_speaks_in_its_own_voice(shell: Shell) -> None:
    script = "\n".join(as_shell(language, block) for language, block in BLOCKS)
    ran = shell.sh(script, timeout=170)
    assert ran.code == 0, ran
    lines = ran.out.splitlines()
    said = recorded_answers()
    assert lines.count(said["pirate"]["Hello!"]) == 1
    assert lines.count(said["poet"]["Hello!"]) == 2, "once for the command line, once for the SDK"
    assert "State: DOWN" in lines


def test_ci_types_the_readmes_test_command() -> None:
    command = "pip install '.[dev]' && pytest"
    assert f"\n{command}\n" in README
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command.replace("pip install", "pip install --quiet") in script


def test_every_page_that_the_readme_names_exists_and_every_page_is_named() -> None:
    named = set(re.findall(r"\(docs/([\w-]+\.md)\)", README))
    assert named == {page.name for page in (ROOT / "docs").glob("*.md")}
