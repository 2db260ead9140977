"""Which fields does a deployed model have on the wire? It is a model on a deployment."""

from __future__ import annotations

from firectl.schemas.base import Status, Time, Wire
from firectl.schemas.words import LoadState


class DeployedModel(Wire):
    """A failed load has no own state: `status` says why, the state becomes UNDEPLOYING, then the row is deleted."""

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
