"""A missing folder on the command line, and the existing one that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from firectl.cli.mistakes.mistyped import folder_meant


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base and two adapters in it."""
    for name, mark in (("base", "config.json"), ("pirate", "adapter_config.json"), ("poet", "adapter_config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / mark).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("verb", "given", "hint"),
    [
        ("lora merge", {"adapter": "pirat", "base_model": "base"}, "did you mean pirate?"),
        ("lora merge", {"adapter": "poet", "base_model": "./bsae"}, "did you mean ./base?"),
        ("lora merge", {"adapter": "nothing", "base_model": "base"}, "did you mean pirate or poet?"),
        ("lora merge", {"adapter": "poet", "base_model": "base/config.json"}, "give the folder that contains it: base"),
        ("lora check", {"base_model": "away/model"}, "ls . shows what there is"),
        ("lora check", {"base_model": "bose/"}, "did you mean base?"),
        ("model create", {"path": "poets"}, "did you mean poet?"),
        ("model create", {"path": "nothing-alike"}, None),
        ("lora merge", {"adapter": "poet", "base_model": "base"}, None),
        ("lora check", {"base_model": None}, None),
        ("chat", {"target": "poets"}, None),
    ],
)
def test_a_missing_folder_gets_the_similar_one_as_a_hint(
    here: Path, verb: str, given: dict[str, str | None], hint: str | None
) -> None:
    assert folder_meant(verb, given) == hint


def test_a_folder_name_is_quoted_for_the_shell(here: Path) -> None:
    (here / "my poet").mkdir()
    assert folder_meant("model upload", {"path": "my poett"}) == "did you mean 'my poet'?"
