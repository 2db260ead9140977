"""What does the platform remember? One frozen dataclass per table, shared by store, control and reconcile.

A row holds the wire resource as the user wrote it (`resource`), and the columns that rules and queries need. It must
not hold what running processes can tell, such as replica counts. A new noun has its row in a file of its own.
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
    """`model` is the requested one (a base or a LoRA), `base` the base model under it; equal unless live merge."""

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
    """The folder that replicas load, relative to the data folder; None until merged or resolved."""
    merge_record: dict[str, object] | None = None
    """The merge in `served_folder`: lora.merge.MergeRecord as JSON, the proof that every tensor was used."""
    last_request_time: datetime | None = None
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None = None
    purge_time: datetime | None = None
    woken_time: datetime | None = None
    """When it was last told to run: created, scaled by hand, woken by a request or a load. Idle time starts no
    earlier."""
    auto_deploy: bool = True
    """Whether its own model is deployed with it, so that the bare model name may route to it."""
    taken_along: list[dict[str, Any]] | None = None
    """The loads on it when it was deleted, for an undelete to restore: see `control.deletion`."""

    @property
    def is_live_merge(self) -> bool:
        return self.model != self.base

    @property
    def is_hot_reload(self) -> bool:
        """Whether the latest addon loaded on it is merged into its base."""
        return bool(self.resource.enable_hot_reload_latest_addon)


@dataclass(frozen=True, kw_only=True)
class DeployedModelRow:
    """`model_hash` binds the load to the weights at the time of the request."""

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
    """`user` owns it. Of the secret only `sha256` (hexadecimal) and, for people, its `prefix` are stored."""

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
    """What a deployment served of a model in the `length` seconds from `start` (unix time)."""

    deployment: str
    model: str
    start: int
    length: int
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
