"""What is a plan made from (`PlanInput`), and what is in it (`Plan` and its steps)?

Data only: the other files here decide, `replicas/reconcile.py` acts.
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
"""How many times an engine is started that reports that it cannot load the model."""
START_TRIES = 5
"""How many times a replica that never served may crash."""
_BACKOFF_CAP = 30.0


def backoff(count: int) -> timedelta:
    """The wait before the next try after `count` failures in a row: 0, 0, 1, 2, 4 … 30 s."""
    return timedelta(seconds=0 if count <= 1 else min(_BACKOFF_CAP, 2.0 ** (count - 2)))


def ok(message: str = "") -> Status:
    """A status that reports no error."""
    return Status.of(None, message)


class Phase(Enum):
    """The state of a replica: not healthy yet, serving, or about to end."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class ObservedAdapter(Enum):
    """The state of an adapter on one replica that has or had it."""

    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


@dataclass(frozen=True)
class ReplicaView:
    """One replica: the `folder` and `context` it was started with, and its adapters by the names its engine uses.

    `context` is the longest prompt and answer in tokens, None for the model's own limit.
    """

    ordinal: int
    phase: Phase
    folder: str
    adapters: Mapping[str, ObservedAdapter] = field(default_factory=dict)
    context: int | None = None


@dataclass(frozen=True)
class Trouble:
    """Crashes in a row: how many, why the last, and when to start again.

    `unloadable` counts those where the engine reported that it cannot load the model.
    """

    count: int
    unloadable: int
    message: str
    retry_at: datetime


@dataclass(frozen=True)
class AdapterFault:
    """Failed loads of one adapter in a row. `refused`: the engine rejected it, so a retry cannot help."""

    count: int
    refused: bool
    message: str
    retry_at: datetime

    @property
    def final(self) -> bool:
        return self.refused or self.count >= FAULT_TRIES


@dataclass(frozen=True)
class MergeView:
    """A merge that runs (`progress` 0…1), is done (`folder`, `record`) or failed `failures` times in a row."""

    running: bool = False
    progress: float | None = None
    folder: str | None = None
    record: Mapping[str, object] | None = None
    failures: int = 0
    refused: bool = False
    message: str = ""
    retry_at: datetime | None = None
    damaged: bool = False
    """The latest failed because the files of the base or the adapter are damaged."""
    unknown: bool = False
    """A merged folder exists; its files must be verified before use."""


@dataclass(frozen=True)
class LoadSource:
    """The files that replicas load. `problem` says why there are none: a model is gone or not READY.

    `folder` is the base's, None for a live merge. `adapters` has the rows' names as keys.
    """

    folder: str | None
    problem: str | None = None
    adapters: Mapping[str, AddonSource] = field(default_factory=dict)
    damage: Status | None = None
    """What is wrong with the files. Nothing may use them until they are repaired."""
    unknown: tuple[str, ...] = ()
    """Models and merged folders whose files must be verified before use."""


@dataclass(frozen=True)
class AddonSource:
    """An adapter as the engine gets it: its name there (model name and content hash) and its folder.

    With hot reload the folder is the merged one. `unknown`: its files must be verified before it is loaded.
    """

    engine_name: str
    folder: str
    problem: str | None = None
    damage: Status | None = None
    unknown: bool = False


@dataclass(frozen=True)
class Seen:
    """What runs now for one deployment."""

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
    """Ordinals of the replicas that take requests until the plan is carried out."""


@dataclass(frozen=True)
class PlanInput:
    """One deployment at one moment; `loads` are the rows of the models loaded on it."""

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
    """Finish the requests in flight first."""


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
    """The new state of a deployed model; `state` None drops the row."""

    name: str
    state: str | None
    status: Status


@dataclass(frozen=True)
class Plan:
    """What to write and do.

    `merge_record` belongs to `served_folder`, None for an unmerged base. `wake` asks for one replica where the desired
    number is 0, `desired` for another number. `purge` drops the row. `wake_at` is when time alone changes the plan.
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
