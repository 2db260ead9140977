"""Signs of another base: its name, revision, tokenizer and chat template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from firectl.lora.check.check import check
from firectl.lora.check.origin import names_differ, vocabulary
from tests.lora.check.reports import alarms, said
from tests.lora.conftest import Make
from tests.lora.read.spoil import config


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ["no base model is recorded"]),
        ("", ["no base model is recorded"]),
        ("/data/llama", ["records the path '/data/llama', which says nothing on another machine"]),
        ("./out", ["records the path './out', which says nothing on another machine"]),
        (r"C:\llama", [r"records the path 'C:\llama', which says nothing on another machine"]),
        ("meta-llama/Llama-3.1-8B", []),
    ],
)
def test_a_base_that_is_not_recorded_or_a_path_is_only_a_warning(
    good: Path, base: Make, name: str | None, expected: list[str]
) -> None:
    path = good / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": name}))
    report = check(good, base())
    assert report.ok
    assert [what for _, what in said(report, "warning")] == expected


def test_a_wrong_base_of_the_same_shape_is_seen_by_its_place_in_a_hub_cache(
    good: Path, base: Make, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--org--other" / "snapshots" / ("a" * 40)
    shutil.copytree(base(), snapshot)
    config(base_model_name_or_path="org/tiny", revision="b" * 40)(good)
    assert alarms(check(good, snapshot)) == [
        "adapter_config.json: base_model_name_or_path: records 'org/tiny', the base model given says that it is "
        "'org/other'",
        "adapter_config.json: revision: records bbbbbbbbbbbb, the base model given is at aaaaaaaaaaaa",
    ]


def test_tokens_that_the_base_lacks_or_numbers_differently_are_flagged(good: Path, named: Path) -> None:
    config(base_model_name_or_path="org/tiny")(good)
    shutil.copy(named / "tokenizer.json", good / "tokenizer.json")
    assert alarms(check(good, named)) == []
    tokenizer = json.loads((good / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 264, "content": "<|new|>"})
    (good / "tokenizer.json").write_text(json.dumps(tokenizer))
    (found,) = alarms(check(good, named))
    assert found == "tokenizer.json: has 1 tokens that the base model's does not have: '<|new|>'"
    del tokenizer["added_tokens"][-1]
    tokenizer["added_tokens"][0]["id"], tokenizer["added_tokens"][1]["id"] = 257, 256
    (good / "tokenizer.json").write_text(json.dumps(tokenizer))
    (found,) = alarms(check(good, named))
    assert found.startswith("tokenizer.json: gives 2 tokens other numbers than the base model's does")
    (good / "tokenizer.json").write_text("{}")
    (found,) = alarms(check(good, named))
    assert found == "tokenizer.json: tokenizer.json: it has no vocabulary"


@pytest.mark.parametrize(
    ("recorded", "names", "differ"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", ["llama-v3p1-8b-instruct"], False),
        ("unsloth/Qwen2.5-7B-Instruct-bnb-4bit", ["my-base", "Qwen/Qwen2.5-7B"], False),
        ("Qwen/Qwen2.5-7B", ["qwen2p5-14b"], True),
        ("/data/base", ["my-base"], False),
        (None, ["my-base"], False),
    ],
)
def test_names_of_one_model_are_spelt_differently(recorded: str | None, names: list[str], differ: bool) -> None:
    assert names_differ(recorded, names) is differ


def test_a_unigram_vocabulary_is_a_list_whose_places_are_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"vocab": [["<unk>", 0], ["a", -1.5]]}, "added_tokens": [{"id": 2, "content": "<s>"}]}')
    assert vocabulary(path) == {"<unk>": 0, "a": 1, "<s>": 2}


def test_another_chat_template_is_noted(good: Path, base: Make) -> None:
    (good / "chat_template.jinja").write_text("{{ messages }}")
    found = [finding for finding in check(good, base()).findings if finding.where == "chat_template.jinja"]
    assert [(finding.severity, finding.what) for finding in found] == [
        ("note", "differs from the base model's, which is the one used")
    ]
