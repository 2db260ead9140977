"""A merged folder is whole when its name, its record and its files agree."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from firectl.lora.read.hashing import combined, file_hash
from firectl.server.disk import merged
from firectl.server.disk.integrity import examine
from firectl.server.disk.merged import Condition

BASE, ADAPTER = f"sha256:{'b' * 64}", f"sha256:{'a' * 64}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished merge, whose files were read once."""
    folder = tmp_path / merged.merged_key(BASE, ADAPTER)
    folder.mkdir()
    (folder / "weights").write_bytes(b"w" * 10)
    files = {"weights": file_hash(folder / "weights")}
    record = {
        "base_hash": BASE,
        "adapter_hash": ADAPTER,
        "tensors_changed": 1,
        "result_hash": combined(files),
        "files": {name: {"size": found.size, "sha256": found.sha256} for name, found in files.items()},
    }
    merged.remember(folder, record, examine(folder, files))
    return folder


def change(folder: Path, **fields: Any) -> None:
    path = folder / merged.RECORD
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))


def test_a_folder_is_named_by_the_first_digits_of_both_hashes() -> None:
    assert merged.merged_key(BASE, ADAPTER) == f"{'b' * 16}-{'a' * 16}"


def test_a_folder_is_whole_while_its_files_have_their_stamps(folder: Path) -> None:
    assert merged.condition(folder) is Condition.WHOLE
    os.utime(folder / "weights", ns=(1, 1))
    assert merged.condition(folder) is Condition.TOUCHED


def test_a_folder_without_a_record_that_fits_is_useless(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("other"))
    assert merged.condition(renamed) is Condition.USELESS
    renamed.rename(folder)
    change(folder, result_hash="sha256:00")
    assert merged.condition(folder) is Condition.USELESS
    (folder / merged.RECORD).write_text("{")
    assert merged.condition(folder) is Condition.USELESS
    assert merged.condition(folder.with_name("missing")) is Condition.ABSENT


def test_a_record_of_an_earlier_version_lists_no_files(folder: Path) -> None:
    record = merged.read_record(folder)
    assert record is not None
    assert set(merged.recorded_files(folder, record) or ()) == {"weights"}
    del record["files"]
    assert merged.recorded_files(folder, record) is None


def test_the_proof_is_the_record_without_its_files(folder: Path) -> None:
    record = merged.read_record(folder)
    assert record is not None
    assert set(record) - set(merged.proof(record)) == {"files"}
    assert merged.proof(record)["tensors_changed"] == 1
