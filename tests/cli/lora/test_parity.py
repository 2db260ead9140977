"""`cli/lora/parity.py`: which prompts are asked, how the comparison reads, and when it is an error."""

from __future__ import annotations

import json
from pathlib import Path

from tests import tiny
from tests.cli.conftest import Cli


def test_parity_of_an_adapter_that_changes_nothing_is_bad(cli: Cli, made: Path, tmp_path: Path) -> None:
    silent = tiny.make_adapter(tmp_path / "silent", made / "base", scale=0.0)
    (tmp_path / "prompts.txt").write_text("Hello\n\nAnd again\n")
    argv = [
        "lora",
        "parity",
        str(silent),
        "--base-model",
        str(made / "base"),
        "--prompts",
        str(tmp_path / "prompts.txt"),
    ]
    ran = cli(*argv, "-o", "json")
    assert ran.code == 2
    assert (ran.json["valid"], ran.json["changes"], ran.json["agrees"]) == (False, False, True)
    said = json.loads(ran.err)["error"]
    assert said["message"] == f"{silent} changes no answer: on these prompts it answers as its base does"
    assert ran.json["tokens"] == 14
    assert ran.json["comparisons"][0]["max_difference"] == 0.0


def test_parity_of_what_only_a_merge_applies_leaves_the_other_way_out_and_says_why(cli: Cli, made: Path) -> None:
    ran = cli("lora", "parity", str(made / "head"), "--base-model", str(made / "base"), "-o", "json")
    assert ran.code == 0
    assert ran.json["skipped"] == {"dynamic": "'lm_head' cannot be adapted in multi-LoRA"}
    assert ran.json["ways"] == ["base", "peft", "merged"]
