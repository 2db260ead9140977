"""Where do the files of a deployment come from, and can they be used now? Pure: from the rows of one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firectl.schemas.words import ModelState
from firectl.server.disk.bin_copy import COPY
from firectl.server.lifecycle.hot_reload import latest
from firectl.server.lifecycle.observed import AdapterSource, Source
from firectl.server.replicas.merge_job import MergeInput, MergeInputs
from firectl.server.store.load_names import engine_name, merged_folder
from firectl.server.store.rows import DeployedModelRow, DeploymentRow, ModelRow


@dataclass(frozen=True)
class World:
    """The rows of one moment. `touched`: models and served folders whose files have to be read before they are used."""

    deployments: Sequence[DeploymentRow]
    loads: Mapping[str, Sequence[DeployedModelRow]]
    models: Mapping[str, ModelRow | None]
    touched: frozenset[str] = frozenset()


def source_of(
    home: Path, row: DeploymentRow, rows: Sequence[DeployedModelRow], world: World
) -> tuple[Source, MergeInputs | None]:
    """The files of a deployment, and what has to be merged for it."""
    adapters = {
        load.name: _adapter(load, world.models.get(load.model), world) for load in rows if load.model != row.model
    }
    base, model = world.models.get(row.base), world.models.get(row.model)
    for name, found in ((row.base, base), (row.model, model)):
        if found is None or found.state != ModelState.READY:
            problem = f"the model {name} {'is gone' if found is None else 'is not READY'}"
            return Source(None, problem, adapters), None
    assert base is not None
    assert model is not None
    if row.is_hot_reload:
        return _hot_source(home, row, rows, world, base, adapters)
    if not row.is_live_merge:
        return _fit(Source(base.folder, None, adapters), row, [base], world), None
    inputs = MergeInputs(_input(home, base), _input(home, model))
    return _fit(Source(None, None, adapters), row, [base, model], world), inputs


def _hot_source(
    home: Path,
    row: DeploymentRow,
    rows: Sequence[DeployedModelRow],
    world: World,
    base: ModelRow,
    adapters: Mapping[str, AdapterSource],
) -> tuple[Source, MergeInputs | None]:
    """Adapters are their merged folders here; what is to be merged is the latest."""
    merged = {
        load.name: replace(adapters[load.name], folder=merged_folder(base, load))
        for load in rows
        if load.name in adapters
    }
    source = Source(base.folder, None, merged)
    target = latest(row, rows)
    model = world.models.get(target.model) if target is not None else None
    if target is None or model is None or merged[target.name].problem:
        return _fit(source, row, [base], world), None
    return _fit(source, row, [base, model], world), MergeInputs(_input(home, base), _input(home, model))


def _fit(source: Source, row: DeploymentRow, used: Iterable[ModelRow], world: World) -> Source:
    """The source, with what is wrong with the files that it needs, and what is not known of them yet."""
    damage = next((model.damage for model in used if model.damage is not None), None)
    names = {model.name for model in used} | ({row.served_folder} if row.served_folder else set())
    return replace(source, damage=damage, unknown=tuple(sorted(names & world.touched)))


def _input(home: Path, model: ModelRow) -> MergeInput:
    uploaded = tuple(name for name in model.stamps or () if name != COPY)
    return MergeInput(model.name, home / model.folder, model.content_hash or "", uploaded)


def _adapter(load: DeployedModelRow, model: ModelRow | None, world: World) -> AdapterSource:
    name = engine_name(load.model, load.model_hash or (model.content_hash if model else None) or "")
    if model is None:
        return AdapterSource(name, "", f"the model {load.model} is gone")
    if model.state != ModelState.READY:
        return AdapterSource(name, model.folder, f"the model {load.model} is not READY")
    if load.model_hash is not None and model.content_hash != load.model_hash:
        return AdapterSource(name, model.folder, f"the files of {load.model} changed since this load was asked for")
    return AdapterSource(name, model.folder, damage=model.damage, unknown=model.name in world.touched)
