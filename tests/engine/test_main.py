"""The command line of an engine, and the page that explains it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from firectl.engine.__main__ import parse
from firectl.engine.options import EngineOptions

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"


def test_the_page_names_every_flag_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE.read_text("utf-8"))) == flags


def test_defaults_are_those_of_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "")
    assert parse(["--model", "m", "--served-model-name", "n"]) == EngineOptions(Path("m"), "n")
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    given = parse(["--model", "m", "--served-model-name", "n", "--kv-memory-mib", "3", "--max-num-batched-tokens", "9"])
    assert (given.api_key, given.kv_memory, given.max_step_tokens) == ("secret", 3 * 2**20, 9)
    assert "secret" not in repr(given)


@pytest.mark.parametrize(
    "wrong",
    [["--port", "65536"], ["--max-num-seqs", "0"], ["--dtype", "int4"], ["--threads", "two"], ["--colour", "red"]],
)
def test_a_wrong_flag_is_refused_by_its_name(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(["--model", "m", "--served-model-name", "n", *wrong])
    assert refused.value.code == 2
    assert wrong[0] in capsys.readouterr().err
