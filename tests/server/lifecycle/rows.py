"""Rows and observations for tests of the pure rules; each test states only what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from firectl.schemas.base import Status
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.server.lifecycle.observed import (
    AdapterFault,
    AddonSource,
    LoadSource,
    ObservedAdapter,
    Phase,
    ReplicaView,
    Seen,
    Trouble,
)
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BASE = "accounts/fireworks/models/base"
LORA = "accounts/me/models/lora"
OTHER = "accounts/me/models/other"
NAME = "accounts/me/deployments/d"
FOLDER = "models/base"


def deployment(**changes: Any) -> DeploymentRow:
    """A plain deployment of BASE with one replica wanted and its folder known."""
    row = DeploymentRow(
        name=NAME,
        account="accounts/me",
        resource=Deployment(base_model=BASE, enable_addons=True, max_replica_count=1),
        state="CREATING",
        status=Status(),
        model=BASE,
        base=BASE,
        desired_replicas=1,
        served_folder=FOLDER,
        merge_record=None,
        last_request_time=None,
        create_time=NOW,
        update_time=NOW,
        delete_time=None,
        purge_time=None,
    )
    return replace(row, **changes)


def load(model: str = LORA, state: str = "DEPLOYING", **changes: Any) -> DeployedModelRow:
    """A model loaded on the deployment; its row's name tells the model."""
    row = DeployedModelRow(
        name=f"accounts/me/deployedModels/{model.rsplit('/', 1)[1]}",
        account="accounts/me",
        resource=DeployedModel(),
        model=model,
        deployment=NAME,
        state=state,
        status=Status(code="OK", message=""),
        default=False,
        model_hash="sha256:" + "0" * 64,
        create_time=NOW,
        update_time=NOW,
    )
    return replace(row, **changes)


def sources(*rows: DeployedModelRow, folder: str | None = FOLDER, problem: str | None = None) -> LoadSource:
    """The files of every addon among `rows`."""
    adapters = {row.name: AddonSource(engine(row.model), f"models/{row.model}") for row in rows if row.model != BASE}
    return LoadSource(folder, problem, adapters)


def engine(model: str) -> str:
    return f"{model}@{'0' * 16}"


def replica(
    phase: Phase = Phase.SERVING, ordinal: int = 0, folder: str = FOLDER, **adapters: ObservedAdapter
) -> ReplicaView:
    """A replica; the keyword `lora=ObservedAdapter.LOADED` puts that model on it."""
    return ReplicaView(ordinal, phase, folder, {engine(f"accounts/me/models/{m}"): a for m, a in adapters.items()})


def trouble(
    count: int = 1, unloadable: int = 0, message: str = "replica exited (killed by signal 9)", **later: float
) -> Trouble:
    """Replicas that died; `seconds=3` puts the next try that far off."""
    return Trouble(count, unloadable, message, NOW + timedelta(**later))


def fault(message: str = "no room", *, count: int = 1, refused: bool = False, **later: float) -> AdapterFault:
    return AdapterFault(count, refused, message, NOW + timedelta(**later))


def faults(**by_model: AdapterFault) -> Mapping[str, AdapterFault]:
    return {engine(f"accounts/me/models/{model}"): found for model, found in by_model.items()}


def seen(*replicas: ReplicaView, **more: Any) -> Seen:
    return Seen(replicas, **more)
