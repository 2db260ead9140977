"""Which fields does a deployed model have on the wire? A deployed model is a LoRA loaded on a deployment."""

from __future__ import annotations

from firectl.schemas.base import Status, Time, Wire
from firectl.schemas.words import LoadState


class DeployedModel(Wire):
    """A LoRA loaded on a deployment.

    There is no FAILED state: if a load fails, the state becomes UNDEPLOYING, `status` says why, and the row is deleted.
    """

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
