"""The names of a load change with its weights, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

from firectl.server.store.load_names import engine_name, merged_folder
from tests.server.store.rows import LOAD, MODEL

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def test_new_weights_have_another_name_in_an_engine() -> None:
    assert engine_name("accounts/a/models/m", ONE) == f"accounts/a/models/m@{'1' * 16}"
    assert engine_name("accounts/a/models/m", ONE) != engine_name("accounts/a/models/m", TWO)


def test_a_merged_folder_is_named_by_both_contents() -> None:
    base, load = replace(MODEL, content_hash=ONE), replace(LOAD, model_hash=TWO)
    assert merged_folder(base, load) == f"merged/{'1' * 16}-{'2' * 16}"
    assert merged_folder(base, replace(load, name="accounts/a/deployedModels/again")) == merged_folder(base, load)
