"""Which files a deployment needs and whether they can be used, decided from rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firectl.schemas.base import Status
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.server.disk.merged import merged_key
from firectl.server.lifecycle.observed import LoadSource
from firectl.server.replicas.merge_job import MergeInputs
from firectl.server.replicas.sources import World, source_of
from firectl.server.store.rows import DeployedModelRow, DeploymentRow, ModelRow
from tests.server.lifecycle.rows import BASE, LORA, NOW, deployment, load

HOME = Path("/home")
HASH = {BASE: "sha256:" + "b" * 64, LORA: "sha256:" + "0" * 64}
DAMAGE = Status(code="DATA_LOSS", message="damaged")
MERGE = deployment(model=LORA, served_folder=None)
HOT = deployment(resource=Deployment(enable_hot_reload_latest_addon=True, max_replica_count=1))
KEY = merged_key(HASH[BASE], HASH[LORA])


def model(name: str, **changes: Any) -> ModelRow:
    row = ModelRow(
        name=name,
        account="accounts/me",
        resource=Model(),
        state="READY",
        kind="HF_BASE_MODEL",
        base=None,
        folder=f"models/{name.rsplit('/', 1)[1]}",
        content_hash=HASH[name],
        create_time=NOW,
        update_time=NOW,
        stamps={"weights": [1]},
    )
    return replace(row, **changes)


BASE_ROW, LORA_ROW = model(BASE), model(LORA)


def source(
    row: DeploymentRow,
    *loads: DeployedModelRow,
    touched: tuple[str, ...] = (),
    base: ModelRow | None = BASE_ROW,
    lora: ModelRow | None = LORA_ROW,
) -> tuple[LoadSource, MergeInputs | None]:
    return source_of(HOME, row, loads, World([row], {row.name: loads}, {BASE: base, LORA: lora}, frozenset(touched)))


def test_a_plain_deployment_serves_the_folder_of_its_base_and_merges_nothing() -> None:
    found, inputs = source(deployment())
    assert (found, inputs) == (LoadSource("models/base"), None)


def test_a_live_merge_needs_its_adapter_merged_into_its_base() -> None:
    found, inputs = source(MERGE)
    assert found.folder is None
    assert inputs is not None
    assert (inputs.key, inputs.base.folder, inputs.adapter.folder) == (KEY, HOME / "models/base", HOME / "models/lora")
    assert inputs.adapter.flags("adapter") == [f"--adapter-hash={HASH[LORA]}", "--adapter-file=weights"]


def test_an_addon_is_loaded_from_its_own_folder_or_with_hot_reload_from_the_merged_one() -> None:
    beside, nothing = source(deployment(), load())
    hot, inputs = source(HOT, load())
    assert (beside.adapters[load().name].folder, nothing) == ("models/lora", None)
    assert hot.adapters[load().name].folder == f"merged/{KEY}"
    assert inputs is not None
    assert inputs.key == KEY


@pytest.mark.parametrize(
    ("base", "problem"),
    [(None, f"the model {BASE} is gone"), (model(BASE, state="UPLOADING"), f"the model {BASE} is not READY")],
)
def test_a_base_that_is_gone_or_not_ready_is_a_problem(base: ModelRow | None, problem: str) -> None:
    found, inputs = source(MERGE, base=base)
    assert (found.problem, inputs) == (problem, None)


@pytest.mark.parametrize(
    ("lora", "problem"),
    [
        (None, f"the model {LORA} is gone"),
        (model(LORA, state="UPLOADING"), f"the model {LORA} is not READY"),
        (model(LORA, content_hash=HASH[BASE]), f"the files of {LORA} changed after this load was requested"),
    ],
)
def test_an_addon_that_cannot_be_used_is_the_problem_of_its_load_alone(lora: ModelRow | None, problem: str) -> None:
    found, _ = source(deployment(), load(), lora=lora)
    assert (found.problem, found.adapters[load().name].problem) == (None, problem)


def test_damage_and_changed_stamps_count_only_for_the_files_that_are_used() -> None:
    lora = model(LORA, damage=DAMAGE)
    beside, _ = source(deployment(), load(), lora=lora, touched=(LORA,))
    assert (beside.damage, beside.unknown) == (None, ())
    assert (beside.adapters[load().name].damage, beside.adapters[load().name].unknown) == (DAMAGE, True)
    merge, _ = source(replace(MERGE, served_folder=f"merged/{KEY}"), lora=lora, touched=(LORA, f"merged/{KEY}"))
    assert (merge.damage, merge.unknown) == (DAMAGE, (LORA, f"merged/{KEY}"))
