"""Which files does a deployment need, and can they be used now? Pure: decided from the rows of one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firectl.schemas.words import ModelState
from firectl.server.lifecycle.hot_reload import latest
from firectl.server.lifecycle.observed import AddonSource, LoadSource
from firectl.server.replicas.merge_job import MergeInput, MergeInputs
from firectl.server.store.load_names import engine_name, merged_folder
from firectl.server.store.rows import DeployedModelRow, DeploymentRow, ModelRow


@dataclass(frozen=True)
class World:
    """The rows of one moment. `touched`: models and merged folders whose files must be verified before use."""

    deployments: Sequence[DeploymentRow]
    loads: Mapping[str, Sequence[DeployedModelRow]]
    models: Mapping[str, ModelRow | None]
    touched: frozenset[str] = frozenset()


def source_of(
    home: Path, row: DeploymentRow, loads: Sequence[DeployedModelRow], world: World
) -> tuple[LoadSource, MergeInputs | None]:
    """The files of a deployment, and what must be merged for it."""
    adapters = {
        load.name: _adapter(load, world.models.get(load.model), world) for load in loads if load.model != row.model
    }
    base, model = world.models.get(row.base), world.models.get(row.model)
    for name, found in ((row.base, base), (row.model, model)):
        if found is None or found.state != ModelState.READY:
            problem = f"the model {name} {'is gone' if found is None else 'is not READY'}"
            return LoadSource(None, problem, adapters), None
    assert base is not None
    assert model is not None
    if row.is_hot_reload:
        return _hot_source(home, row, loads, world, base, adapters)
    if not row.is_live_merge:
        return _usable(LoadSource(base.folder, None, adapters), row, [base], world), None
    inputs = MergeInputs(_input(home, base), _input(home, model))
    return _usable(LoadSource(None, None, adapters), row, [base, model], world), inputs


def _hot_source(
    home: Path,
    row: DeploymentRow,
    loads: Sequence[DeployedModelRow],
    world: World,
    base: ModelRow,
    adapters: Mapping[str, AddonSource],
) -> tuple[LoadSource, MergeInputs | None]:
    """With hot reload, an adapter's folder is the merged one, and the latest load must be merged."""
    merged = {
        load.name: replace(adapters[load.name], folder=merged_folder(base, load))
        for load in loads
        if load.name in adapters
    }
    source = LoadSource(base.folder, None, merged)
    target = latest(row, loads)
    model = world.models.get(target.model) if target is not None else None
    if target is None or model is None or merged[target.name].problem:
        return _usable(source, row, [base], world), None
    return _usable(source, row, [base, model], world), MergeInputs(_input(home, base), _input(home, model))


def _usable(source: LoadSource, row: DeploymentRow, used: Iterable[ModelRow], world: World) -> LoadSource:
    """The source, with the damage of the models in `used` and what must be verified first."""
    damage = next((model.damage for model in used if model.damage is not None), None)
    names = {model.name for model in used} | ({row.served_folder} if row.served_folder else set())
    return replace(source, damage=damage, unknown=tuple(sorted(names & world.touched)))


def _input(home: Path, model: ModelRow) -> MergeInput:
    return MergeInput(model.name, home / model.folder, model.content_hash or "", tuple(model.stamps or ()))


def _adapter(load: DeployedModelRow, model: ModelRow | None, world: World) -> AddonSource:
    name = engine_name(load.model, load.model_hash or (model.content_hash if model else None) or "")
    if model is None:
        return AddonSource(name, "", f"the model {load.model} is gone")
    if model.state != ModelState.READY:
        return AddonSource(name, model.folder, f"the model {load.model} is not READY")
    if load.model_hash is not None and model.content_hash != load.model_hash:
        return AddonSource(name, model.folder, f"the files of {load.model} changed since this load was asked for")
    return AddonSource(name, model.folder, damage=model.damage, unknown=model.name in world.touched)
