"""Which files does a deployment need, and can they be used now? Pure: uses only rows that were read together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firectl.schemas.words import ModelState
from firectl.server.disk.bin_copy import COPY
from firectl.server.lifecycle.hot_reload import latest
from firectl.server.lifecycle.observed import AddonSource, LoadSource
from firectl.server.replicas.merge_job import MergeInput, MergeInputs
from firectl.server.store.load_names import engine_name, merged_folder
from firectl.server.store.rows import DeployedModelRow, DeploymentRow, ModelRow


@dataclass(frozen=True)
class World:
    """The rows, read together. `touched`: models and merged folders whose files must be verified before use."""

    deployments: Sequence[DeploymentRow]
    loads: Mapping[str, Sequence[DeployedModelRow]]
    models: Mapping[str, ModelRow | None]
    touched: frozenset[str] = frozenset()


def source_of(
    home: Path, row: DeploymentRow, loads: Sequence[DeployedModelRow], world: World
) -> tuple[LoadSource, MergeInputs | None]:
    """Return the files that a deployment loads, and the two models to merge for it (None if it needs no merge)."""
    base, model = world.models.get(row.base), world.models.get(row.model)
    merge_base = base if row.is_hot_reload else None
    adapters = {load.name: _adapter(load, world, merge_base) for load in loads if load.model != row.model}
    for name, found in ((row.base, base), (row.model, model)):
        if found is None or found.state != ModelState.READY:
            problem = f"the model {name} {'is gone' if found is None else 'is not READY'}"
            return LoadSource(None, problem, adapters), None
    assert base is not None
    assert model is not None
    addon = model if row.is_live_merge else None
    target = latest(row, loads) if row.is_hot_reload else None
    if target is not None and not adapters[target.name].problem:
        addon = world.models.get(target.model)
    used = [base] if addon is None else [base, addon]
    names = {model.name for model in used} | ({row.served_folder} if row.served_folder else set())
    source = LoadSource(
        None if row.is_live_merge else base.folder,
        adapters=adapters,
        damage=next((model.damage for model in used if model.damage is not None), None),
        unknown=tuple(sorted(names & world.touched)),
    )
    return source, None if addon is None else MergeInputs(_input(home, base), _input(home, addon))


def _input(home: Path, model: ModelRow) -> MergeInput:
    uploaded = tuple(name for name in model.stamps or () if name != COPY)
    return MergeInput(model.name, home / model.folder, model.content_hash or "", uploaded)


def _adapter(load: DeployedModelRow, world: World, merge_base: ModelRow | None) -> AddonSource:
    """Return the adapter of a load. With a `merge_base`, its folder is the one with the merged weights."""
    model = world.models.get(load.model)
    name = engine_name(load.model, load.model_hash or (model.content_hash if model else None) or "")
    folder = merged_folder(merge_base, load) if merge_base is not None else model.folder if model is not None else ""
    if model is None:
        return AddonSource(name, folder, f"the model {load.model} is gone")
    if model.state != ModelState.READY:
        return AddonSource(name, folder, f"the model {load.model} is not READY")
    if load.model_hash is not None and model.content_hash != load.model_hash:
        return AddonSource(name, folder, f"the files of {load.model} changed after this load was requested")
    return AddonSource(name, folder, damage=model.damage, unknown=model.name in world.touched)
