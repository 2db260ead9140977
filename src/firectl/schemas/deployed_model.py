"""Deployed models on the wire: which model is loaded on which deployment."""

from __future__ import annotations

from firectl.schemas.base import Status, Time, Wire
from firectl.schemas.words import LoadState


class DeployedModel(Wire):
    """A failed load has no state of its own: `status` says why, the state goes to UNDEPLOYING, then the row goes."""

    states = LoadState.ALL

    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    model: str | None = None
    deployment: str | None = None
    default: bool | None = None
    state: str | None = None
    status: Status | None = None
    public: bool | None = None
    serverless: bool | None = None
    create_time: Time | None = None
    update_time: Time | None = None
