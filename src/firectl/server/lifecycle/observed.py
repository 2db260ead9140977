"""What is a plan made from (`PlanInput`), and what is in it (`Plan` and its steps)?

Data only: the other files in this folder make the plan, `replicas/reconcile.py` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from firectl.schemas.base import Status
from firectl.server.store.rows import DeployedModelRow, DeploymentRow

FAULT_TRIES = 3
"""How many times a load that fails without a refusal is tried before it counts as failed."""
LOAD_TRIES = 2
"""After how many reports in a row that an engine cannot load the model its start counts as failed."""
START_TRIES = 5
"""After how many crashes in a row the start of a new deployment, or of new merged weights, counts as failed."""
_BACKOFF_CAP = 30.0


def backoff(count: int) -> timedelta:
    """Return how long to wait after `count` failures in a row: for 0, 1, 2 … failures 0, 0, 1, 2, 4 … 30 s."""
    return timedelta(seconds=0 if count <= 1 else min(_BACKOFF_CAP, 2.0 ** (count - 2)))


def ok(message: str = "") -> Status:
    """Return a status that reports no error."""
    return Status.of(None, message)


class Phase(Enum):
    """The state of a replica: not healthy yet, able to serve, or told to stop."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class ObservedAdapter(Enum):
    """The state of an adapter on one replica; an unloaded adapter has no state."""

    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


@dataclass(frozen=True)
class ReplicaView:
    """One replica: the `folder` and `context` it was started with, and its adapters by the names its engine uses.

    `context` limits prompt and answer together, in tokens; None means the model's own limit.
    """

    ordinal: int
    phase: Phase
    folder: str
    adapters: Mapping[str, ObservedAdapter] = field(default_factory=dict)
    context: int | None = None


@dataclass(frozen=True)
class Trouble:
    """Crashes in a row: their `count`, the `message` of the latest, and when to start a replica again.

    `unloadable` counts the latest crashes in which the engine reported that it cannot load the model.
    """

    count: int
    unloadable: int
    message: str
    retry_at: datetime


@dataclass(frozen=True)
class AdapterFault:
    """Failed loads of one adapter in a row. `refused`: the engine rejected the adapter, so trying again cannot help."""

    count: int
    refused: bool
    message: str
    retry_at: datetime

    @property
    def final(self) -> bool:
        return self.refused or self.count >= FAULT_TRIES


@dataclass(frozen=True)
class MergeView:
    """The state of a merge: running (`progress` 0…1), done (`folder`, `record`) or failed `failures` times in a row."""

    running: bool = False
    progress: float | None = None
    folder: str | None = None
    record: Mapping[str, object] | None = None
    failures: int = 0
    refused: bool = False
    message: str = ""
    retry_at: datetime | None = None
    damaged: bool = False
    """The latest try failed because files of the base or the adapter are damaged."""
    unknown: bool = False
    """A merged folder exists; its files must be verified before use."""


@dataclass(frozen=True)
class LoadSource:
    """The files that replicas load. `problem` says why nothing can be loaded: a model is gone or not READY.

    `folder` is the folder of the base; None for a live merge. The keys of `adapters` are names of deployed models.
    """

    folder: str | None
    problem: str | None = None
    adapters: Mapping[str, AddonSource] = field(default_factory=dict)
    damage: Status | None = None
    """What is wrong with the files. No replica may load the files until they are repaired."""
    unknown: tuple[str, ...] = ()
    """Models and merged folders whose files must be verified before use."""


@dataclass(frozen=True)
class AddonSource:
    """An adapter for the engine: `engine_name` (model name and content hash) and `folder`.

    With hot reload, `folder` has the merged weights. `unknown`: the files must be verified before they are loaded.
    """

    engine_name: str
    folder: str
    problem: str | None = None
    damage: Status | None = None
    unknown: bool = False


@dataclass(frozen=True)
class Seen:
    """The replicas, merge, failures and traffic of one deployment at the time of planning."""

    replicas: Sequence[ReplicaView] = ()
    trouble: Trouble | None = None
    merge: MergeView | None = None
    faults: Mapping[str, AdapterFault] = field(default_factory=dict)
    room: int = 0
    """How many replicas above the desired number may run while old ones are replaced."""
    last_request: datetime | None = None
    in_flight: int = 0
    suggested: int | None = None
    """The number of replicas that the recent traffic needs; None for no change."""
    answering: frozenset[int] = frozenset()
    """Ordinals of the replicas that take requests according to the previous plan."""


@dataclass(frozen=True)
class PlanInput:
    """Everything that a plan for one deployment is made from. `loads` are the rows of its deployed models."""

    row: DeploymentRow
    loads: Sequence[DeployedModelRow]
    source: LoadSource
    seen: Seen
    now: datetime


@dataclass(frozen=True)
class StartMerge:
    pass


@dataclass(frozen=True)
class StartReplica:
    ordinal: int
    folder: str
    context: int | None = None


@dataclass(frozen=True)
class StopReplica:
    ordinal: int
    drain: bool
    """Whether to finish the requests in flight first."""


@dataclass(frozen=True)
class LoadAdapter:
    ordinal: int
    engine_name: str
    folder: str


@dataclass(frozen=True)
class UnloadAdapter:
    ordinal: int
    engine_name: str


Step = StartMerge | StartReplica | StopReplica | LoadAdapter | UnloadAdapter


@dataclass(frozen=True)
class LoadChange:
    """The new state of a deployed model. With the `state` None its row is deleted."""

    name: str
    state: str | None
    status: Status


@dataclass(frozen=True)
class Plan:
    """What to write into the rows of a deployment, and the `steps` to begin.

    `served_folder` is None for no change; `merge_record` describes its merge and is None for an unmerged base.
    `wake` asks for replicas for a deployment that is scaled to zero. `desired` is a new number of replicas.
    `purge` deletes the row. `wake_at` is when to plan again even if nothing else changes.
    """

    state: str
    status: Status
    steps: tuple[Step, ...] = ()
    loads: tuple[LoadChange, ...] = ()
    served_folder: str | None = None
    merge_record: Mapping[str, object] | None = None
    wake: bool = False
    desired: int | None = None
    purge: bool = False
    wake_at: datetime | None = None
    ready: frozenset[int] = frozenset()
    """Ordinals of the replicas that take requests."""
