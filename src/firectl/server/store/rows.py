"""What does a row of each table hold? One frozen dataclass per table, shared by store, control and reconcile.

A row holds the resource as the user wrote it (`resource`), and the columns that rules and queries need. It must not
hold facts about running processes, such as replica counts. Put the row of a new kind of resource in its own file.
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
    """A model. `content_hash` is the hash of all its files, set once READY; `folder` is relative to the data folder.

    `damage` is the result of the check at `check_time`, when the files had these `stamps` (`integrity.Stamps`).
    """

    name: str
    account: str
    resource: Model
    state: str
    kind: str
    base: str | None
    """For an adapter, the full name of its base model."""
    folder: str
    content_hash: str | None = None
    create_time: datetime
    update_time: datetime
    damage: Status | None = None
    stamps: dict[str, list[int]] | None = None
    check_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DeploymentRow:
    """A deployment. `model` is the requested model; `base` is the same, or, for a live merge, the LoRA's base."""

    name: str
    account: str
    resource: Deployment
    state: str
    status: Status
    model: str
    base: str
    desired_replicas: int
    """The number of replicas that reconcile works towards; 0 when parked or scaled to zero."""
    served_folder: str | None = None
    """The folder that replicas load, relative to the data folder; None until reconcile has determined it."""
    merge_record: dict[str, object] | None = None
    """What was merged into `served_folder`: lora.merge.MergeRecord as JSON, the proof that every tensor was used."""
    last_request_time: datetime | None = None
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None = None
    purge_time: datetime | None = None
    woken_time: datetime | None = None
    """When the deployment was last created, undeleted, scaled up or woken. Idle time starts no earlier."""
    auto_deploy: bool = True
    """Whether its own model gets a deployed model, so that requests which name only the model may go to it."""
    taken_along: list[dict[str, Any]] | None = None
    """The deployed models at the time of the delete, which an undelete restores: see `control.deployments.deletion`."""

    @property
    def is_live_merge(self) -> bool:
        return self.model != self.base

    @property
    def is_hot_reload(self) -> bool:
        """Whether the deployment merges the latest addon loaded on it into its base."""
        return bool(self.resource.enable_hot_reload_latest_addon)


@dataclass(frozen=True, kw_only=True)
class DeployedModelRow:
    """A model on a deployment. `model_hash` is the model's content hash at the time of the request to load it."""

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
    """A file of a model: announced with its size, complete once all bytes arrived and its sha256 is known."""

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
    """An API key of `user`. Of the secret, only its `sha256` (hexadecimal) and, for people, its `prefix` are stored."""

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
    """How much a deployment served for a model in the `length` seconds from `start` (unix time)."""

    deployment: str
    model: str
    start: int
    length: int
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
