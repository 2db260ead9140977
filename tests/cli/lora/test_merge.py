"""`cli/lora/merge.py`: which adapters are merged with which weights, and what is said of the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_a_merge_says_what_it_changed_and_the_second_time_that_it_is_there(
    cli: Cli, made: Path, tmp_path: Path
) -> None:
    argv = ["lora", "merge", str(made / "adapter"), "--base-model", str(made / "base"), "--out", str(tmp_path / "out")]
    ran = cli(*argv, "--verify")
    assert ran.code == 0
    assert ran.err.splitlines()[-1].startswith("merging 100% of 4")
    assert ran.out.splitlines()[:3] == [
        f"Out: {tmp_path / 'out'}",
        "Tensors Changed: 14 of 21",
        "Adapter Tensors: 28, all used",
    ]
    assert "\nVerified: true\n" in ran.out
    assert ran.out.endswith("  Same Next Token: 100.0%\n")
    again = cli(*argv, "-o", "json")
    assert (again.code, again.err) == (0, f"{tmp_path / 'out'} already holds this merge: nothing was written\n")
    record = json.loads((tmp_path / "out" / "firectl_merge.json").read_text())
    del record["stamp"], record["files"]  # for the folder alone
    assert again.json == {**record, "out": str(tmp_path / "out")}
    other = cli("lora", "merge", str(made / "head"), *argv[3:])
    assert (other.code, other.out) == (2, "")
    assert other.err.startswith(f"Error: {tmp_path / 'out'} is there already")


def test_an_adapter_that_is_in_the_base_already_is_not_merged_again(cli: Cli, made: Path, tmp_path: Path) -> None:
    merged, twice = tmp_path / "merged", tmp_path / "twice"
    argv = ["lora", "merge", str(made / "adapter"), "--out"]
    assert cli(*argv, str(merged), "--base-model", str(made / "base")).code == 0
    ran = cli(*argv, str(twice), "--base-model", str(merged))
    assert (ran.code, ran.out, twice.exists()) == (2, "", False)
    assert "this adapter is merged into the base already: it would be applied twice" in ran.err
    assert ran.err.splitlines()[-1].startswith("Hint: use that folder as it is, or merge into the base that it was ")


def test_adapters_with_weights_are_added_up_and_agree_with_peft(cli: Cli, made: Path, tmp_path: Path) -> None:
    weighted = ["--adapter", f"{made / 'adapter'}=0.7", "--adapter", f"{made / 'head'}=-0.3"]
    common = ["--base-model", str(made / "base"), "--out", str(tmp_path / "out")]
    ran = cli("lora", "merge", *weighted, *common, "--verify", "-o", "json")
    assert ran.code == 0
    assert ran.json["verified"]["agrees"] is True
    assert ran.json["verified"]["max_difference"] < 1e-4
    assert (ran.json["tensors_changed"], ran.json["adapter_tensors"]) == (15, 28 + 7)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "Error: no adapter is given"),
        (["--adapter", "x=much"], "Error: the weight of --adapter x=much is not a number"),
        (["--adapter", "x=inf"], "Error: the weight of --adapter x=inf is out of range"),
        (["nowhere"], "Error: adapter folder nowhere does not exist"),
    ],
    ids=str,
)
def test_what_cannot_be_merged_is_refused_and_nothing_written(
    cli: Cli, made: Path, tmp_path: Path, argv: list[str], said: str
) -> None:
    ran = cli("lora", "merge", *argv, "--base-model", str(made / "base"), "--out", str(tmp_path / "out"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(said)
    assert not (tmp_path / "out").exists()
