"""Rows that the tests of the store share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from firectl.schemas.base import Status
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import AutoscalingPolicy, Deployment
from firectl.schemas.model import Model
from firectl.schemas.words import DeploymentState, ModelKind
from firectl.server.store import Store
from firectl.server.store.rows import AccountRow, DeployedModelRow, DeploymentRow, ModelRow

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MODEL = ModelRow(
    name="accounts/a/models/m",
    account="accounts/a",
    resource=Model(display_name="M", context_length=0, public=False),
    state="READY",
    kind=ModelKind.BASE,
    base=None,
    folder="models/a/m.x",
    content_hash="sha256:00",
    create_time=NOW,
    update_time=NOW,
)
DEPLOYMENT = DeploymentRow(
    name="accounts/a/deployments/d",
    account="accounts/a",
    resource=Deployment(autoscaling_policy=AutoscalingPolicy(scale_up_window=timedelta(seconds=30))),
    state=DeploymentState.READY,
    status=Status.of(None, "fine"),
    model=MODEL.name,
    base=MODEL.name,
    desired_replicas=1,
    create_time=NOW,
    update_time=NOW,
)
LOAD = DeployedModelRow(
    name="accounts/a/deployedModels/l",
    account="accounts/a",
    resource=DeployedModel(description="here"),
    model=MODEL.name,
    deployment=DEPLOYMENT.name,
    state="DEPLOYED",
    status=Status.of(None, ""),
    default=True,
    model_hash=None,
    create_time=NOW,
    update_time=NOW,
)


def fill(store: Store) -> None:
    """One account, model, deployment and deployed model."""
    with store.begin() as tx:
        tx.accounts.insert(AccountRow(name="accounts/a", display_name="A", create_time=NOW))
        tx.models.insert(MODEL)
        tx.deployments.insert(DEPLOYMENT)
        tx.deployed_models.insert(LOAD)
