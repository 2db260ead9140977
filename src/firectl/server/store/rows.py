"""What the platform remembers: one frozen dataclass per table, shared by store, control and reconcile.

A row holds the wire resource as the user wrote it (`resource`) plus the columns that rules and queries need.
What can be derived from running processes (replica counts) is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from firectl.schemas.base import Status
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """`content_hash` is the sha256 over its files once READY; `folder` is relative to the data folder.

    `damage` says what was wrong with its files at `check_time`, when they had these `stamps` (`integrity.Stamps`).
    """

    name: str
    account: str
    resource: Model
    state: str
    kind: str
    base: str | None
    """For an adapter, the full name of its base model."""
    folder: str
    content_hash: str | None
    create_time: datetime
    update_time: datetime
    damage: Status | None = None
    stamps: dict[str, list[int]] | None = None
    check_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DeploymentRow:
    """`model` is what was asked for (a base or a LoRA), `base` the base model under it; equal unless live merge."""

    name: str
    account: str
    resource: Deployment
    state: str
    status: Status
    model: str
    base: str
    desired_replicas: int
    """What reconcile drives the running replicas towards; 0 when parked or scaled to zero."""
    served_folder: str | None
    """The folder replicas load, relative to the data folder; None until merged or resolved."""
    merge_record: dict[str, object] | None
    """What is merged into `served_folder`: lora.merge.MergeRecord as JSON, the proof that every tensor was used."""
    last_request_time: datetime | None
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    purge_time: datetime | None
    woken_time: datetime | None = None
    """When it was last told to run: created, scaled by hand, woken by a request or a load. Idleness counts from here
    at the earliest."""
    auto_deploy: bool = True
    """Whether its own model is deployed with it, so that the bare model name may route to it."""
    taken_along: list[dict[str, Any]] | None = None
    """What was deployed on it when it was deleted, to come back with an undelete: see `control.deletion`."""

    @property
    def is_live_merge(self) -> bool:
        return self.model != self.base

    @property
    def is_hot_reload(self) -> bool:
        """Whether the latest addon loaded onto it is merged into its base."""
        return bool(self.resource.enable_hot_reload_latest_addon)


@dataclass(frozen=True, kw_only=True)
class DeployedModelRow:
    """`model_hash` binds the load to the weights it was asked for."""

    name: str
    account: str
    resource: DeployedModel
    model: str
    deployment: str
    state: str
    status: Status
    default: bool
    model_hash: str | None
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """A file of a model: announced with its size, complete once every byte arrived and its sha256 is known."""

    model: str
    filename: str
    size: int
    sha256: str | None
    complete: bool


@dataclass(frozen=True, kw_only=True)
class AccountRow:
    name: str
    display_name: str
    create_time: datetime


@dataclass(frozen=True, kw_only=True)
class UserRow:
    name: str
    account: str
    display_name: str
    create_time: datetime


@dataclass(frozen=True, kw_only=True)
class ApiKeyRow:
    """`user` owns it; `sha256` of the secret (hexadecimal) is all that is kept of it, `prefix` is for people."""

    key_id: str
    user: str
    account: str
    sha256: str
    prefix: str
    display_name: str
    create_time: datetime
    expire_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """What was served of a model on a deployment in the `length` seconds from `start` (unix time)."""

    deployment: str
    model: str
    start: int
    length: int
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
