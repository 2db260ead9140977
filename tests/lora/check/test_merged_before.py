"""A base that is the result of a merge: its record keeps the same adapter from being applied twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from firectl.errors import AdapterError
from firectl.lora.check.check import check
from firectl.lora.check.merged_before import merged_into
from firectl.lora.merge.merge import merge
from firectl.lora.read.base_model import BaseModel
from tests.lora.conftest import Make
from tests.lora.merge.results import tensors_of

TWICE = "this adapter is merged into the base already: it would be applied twice"


@pytest.fixture(scope="module")
def merged(base: Make, adapter: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "out"
    merge(adapter(base()), base(), out)
    return out


def test_the_same_adapter_is_not_merged_twice(merged: Path, base: Make, adapter: Make, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(adapter(base()), tmp_path / "adapter"))
    (copied / "README.md").write_text("no part of the adapter")
    with pytest.raises(AdapterError, match=TWICE) as caught:
        merge(copied, merged, tmp_path / "twice")
    assert "use that folder as it is, or merge into the base that it was made from" in (caught.value.hint or "")
    assert not (tmp_path / "twice").exists()
    report = check(copied, merged)
    assert [(finding.where, finding.what) for finding in report.errors] == [("base model: firectl_merge.json", TWICE)]
    assert (report.live_merge, report.multi_lora) == (False, False)


def test_another_adapter_comes_on_top_and_both_are_remembered(
    merged: Path, base: Make, adapter: Make, tmp_path: Path
) -> None:
    first, second = adapter(base()), adapter(base(), targets=["q_proj"], r=4)
    record = merge(second, merged, tmp_path / "both")
    note = "an adapter is merged into the base already; this one is added to it"
    assert record.notes == (f"base model: firectl_merge.json: {note}",)
    assert [entry["weight"] for entry in record.merged] == [1.0, 1.0]
    assert [entry._asdict() for entry in merged_into(BaseModel.open(tmp_path / "both"))] == [*record.merged]
    for again in (first, second):
        with pytest.raises(AdapterError, match=TWICE):
            merge(again, tmp_path / "both", tmp_path / "again")
    with pytest.raises(AdapterError, match=TWICE):
        merge([(second, 0.5), (adapter(base(), r=16), 1.0)], tmp_path / "both", tmp_path / "again")


def test_what_was_added_can_be_taken_off_and_added_again(
    merged: Path, base: Make, adapter: Make, tmp_path: Path
) -> None:
    lora = adapter(base())
    merge([(lora, -1.0)], merged, tmp_path / "off")
    before, after = tensors_of(base()), tensors_of(tmp_path / "off")
    assert all((after[name] - before[name]).abs().max() < 1e-5 for name in before)
    merge(lora, tmp_path / "off", tmp_path / "on")


def test_a_record_of_the_version_before_names_its_adapter_too(
    merged: Path, base: Make, adapter: Make, tmp_path: Path
) -> None:
    older = Path(shutil.copytree(merged, tmp_path / "older"))
    record = json.loads((older / "firectl_merge.json").read_text())
    del record["merged"]
    (older / "firectl_merge.json").write_text(json.dumps(record))
    assert check(adapter(base()), older).errors[0].what == TWICE


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"merged": [1, {"adapter_hash": 3}, {"weight": 1}]}'])
def test_a_record_that_says_nothing_keeps_nobody_from_merging(
    merged: Path, base: Make, adapter: Make, tmp_path: Path, text: str
) -> None:
    folder = Path(shutil.copytree(merged, tmp_path / "base"))
    (folder / "firectl_merge.json").write_text(text)
    assert check(adapter(base()), folder).ok
