"""The words of the loop: what runs now (`Seen`, `Source`) and what should happen next (`Plan` and its steps).

Data only; `lifecycle` decides, `reconcile` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from firectl.schemas.base import Status

FAULT_TRIES = 3
"""How often a load that fails without being refused is tried before it counts as failed."""

_BACKOFF_CAP = 30.0


def backoff(count: int) -> timedelta:
    """How long to wait before the next try after `count` failures in a row: 0, 1, 2, 4 … 30 s."""
    return timedelta(seconds=0 if count <= 1 else min(_BACKOFF_CAP, 2.0 ** (count - 2)))


def ok(message: str = "") -> Status:
    """A status without a complaint."""
    return Status.of(None, message)


class Phase(Enum):
    """Where a replica's process is: not healthy yet, serving, or told to end."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Adapter(Enum):
    """Where an adapter is on one replica; absent means not there."""

    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


@dataclass(frozen=True)
class ReplicaView:
    """One replica as seen: `folder` and `context` are what it was started with, `adapters` the engine's names on it."""

    ordinal: int
    phase: Phase
    folder: str
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    context: int | None = None
    """The longest prompt and answer in tokens; None for the model's own."""


@dataclass(frozen=True)
class Trouble:
    """Replicas that died since one last served for a while: how many in a row, why the last, when to start again.

    `unloadable` counts those where the engine itself said that it cannot load the model.
    """

    count: int
    unloadable: int
    message: str
    retry_at: datetime


@dataclass(frozen=True)
class AdapterFault:
    """Loads of one adapter that failed in a row. `refused`: the engine said no, trying again cannot help."""

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
    """The latest failed, for its input was not what it should be."""
    unknown: bool = False
    """There is a merged folder, and its files have to be read before it is used."""


@dataclass(frozen=True)
class Source:
    """Where the files come from. `problem` says why they cannot be had: a model that is gone or not READY.

    `folder` of a plain deployment is its base's. `adapters`: load name → (engine's name, or why there is none); where
    the latest is merged (hot reload), its folder is the merged one.
    """

    folder: str | None
    problem: str | None = None
    adapters: Mapping[str, AdapterSource] = field(default_factory=dict)
    damage: Status | None = None
    """What is wrong with the files: nothing may be made of them until they are right again."""
    unknown: tuple[str, ...] = ()
    """Models and folders that have to be read before anything more is made of them."""


@dataclass(frozen=True)
class AdapterSource:
    """An adapter as the engine gets it: its name there (model name and content hash) and its folder."""

    engine_name: str
    folder: str
    problem: str | None = None
    damage: Status | None = None
    unknown: bool = False
    """Its files have to be read before it is loaded."""


@dataclass(frozen=True)
class Seen:
    """What runs now for one deployment."""

    replicas: Sequence[ReplicaView] = ()
    trouble: Trouble | None = None
    merge: MergeView | None = None
    faults: Mapping[str, AdapterFault] = field(default_factory=dict)
    room: int = 0
    """How many replicas beside those wanted the platform has room for, while old ones are replaced."""
    last_request: datetime | None = None
    in_flight: int = 0
    suggested: int | None = None
    """How many replicas the load of the last while asks for; None where it asks for no change."""
    answering: frozenset[int] = frozenset()
    """Ordinals of the replicas that requests go to until this plan is carried out."""


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
    """Let requests in flight end first (scaling down), or not (the deployment goes)."""


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
    """What to write and do. `served_folder` goes with the `merge_record` of what is merged into it, None for a base as
    it is. `purge` drops the deployment's row; `wake` wants one replica where none is wanted, `desired` another number;
    `wake_at` is when time alone changes the plan."""

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
    """Ordinals of the replicas that requests may go to."""
