"""Deployed models: load a LoRA onto a deployment, watch it, find it, unload it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from firectl.client.deployment import Deployments
from firectl.client.resource import Resource, WaitArgs
from firectl.errors import ApiError, Code
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.words import LoadState

WAIT_SECONDS = 1800.0
GONE = "GONE"
"""A state of ours: the row is not there any more."""


class DeployedModels(Resource[DeployedModel]):
    collection = "deployedModels"
    schema = DeployedModel
    look = "firectl deployed-model get"

    def load(
        self,
        model: str,
        deployment: str,
        *,
        display_name: str | None = None,
        description: str | None = None,
        public: bool | None = None,
        default: bool | None = None,
        replace_merged_addon: bool | None = None,
    ) -> DeployedModel:
        """Loads a LoRA; `model` and `deployment` are IDs or full names. One that is loaded already comes back as is."""
        asked = DeployedModel(
            model=self._client.full_name(model, "models"),
            deployment=self._client.full_name(deployment, "deployments"),
            display_name=display_name,
            description=description,
            public=public,
            default=default,
        )
        return self._create(
            f"/v1/accounts/{self._client.account}/{self.collection}",
            asked,
            query={"replaceMergedAddon": replace_merged_addon},
            read_back=lambda: self._find(asked.model, asked.deployment),
            look="firectl deployed-model list",
        )

    def find(self, model: str, deployment: str) -> DeployedModel:
        """The row of `model` on `deployment`; NOT_FOUND when it is not loaded there."""
        model, deployment = self._client.full_name(model, "models"), self._client.full_name(deployment, "deployments")
        row = self._find(model, deployment)
        if row is None:
            raise ApiError(Code.NOT_FOUND, f"{model} is not loaded on {deployment}", hint="firectl deployed-model list")
        return row

    def _find(self, model: str | None, deployment: str | None) -> DeployedModel | None:
        # Not by a filter: this must not depend on which filters a server knows.
        rows = (row for row in self.list() if row.model == model and row.deployment == deployment)
        return next(rows, None)

    def unload(self, model: str, deployment: str) -> DeployedModel:
        """Unloads `model` from `deployment`; the row that was loaded."""
        row = self.find(model, deployment)
        self.delete(row.name or "")
        return row

    def update(self, name: str, deployed_model: DeployedModel, mask: Iterable[str] | None = None) -> DeployedModel:
        """Changes the fields named in `mask` (snake_case), else those set on `deployed_model`, and no others."""
        return self._update(name, deployed_model, mask)

    def wait(
        self,
        name: str,
        timeout: float = WAIT_SECONDS,
        **args: Unpack[WaitArgs[DeployedModel]],
    ) -> DeployedModel:
        """The row once it is DEPLOYED.

        A load that fails goes away: then FAILED_PRECONDITION with the reason the server gave while the row was there.
        So does one that waits for a deployment which may run no replica: nothing but a change of that one ends it.
        WaitTimeout after `timeout` seconds. Network errors pass.
        """
        full = self.full_name(name)
        reason: str | None = None

        def done(found: DeployedModel) -> bool:
            nonlocal reason
            if found.status and found.status.message and found.status.code != "OK":
                reason = found.status.message
            if found.state in (LoadState.UNDEPLOYING, GONE):
                if reason is None:
                    raise ApiError(Code.FAILED_PRECONDITION, f"{full} was unloaded meanwhile")
                raise ApiError(Code.FAILED_PRECONDITION, f"{full} could not be loaded: {reason}")
            if (
                found.state == LoadState.DEPLOYING
                and found.status
                and found.status.code == Code.FAILED_PRECONDITION.name
            ):
                self._refuse_parked(found)
            return found.state == LoadState.DEPLOYED

        return self._wait(full, timeout, LoadState.DEPLOYED, done, gone=DeployedModel(name=full, state=GONE), **args)

    def _refuse_parked(self, row: DeployedModel) -> None:
        """FAILED_PRECONDITION where the deployment that a load waits for is parked, as of now."""
        if not row.deployment:
            return
        try:
            parked = Deployments(self._client).get(row.deployment).max_replica_count == 0
        except ApiError:
            return  # the wait goes on, and ends by its own rules
        if parked:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"{row.name} waits until {row.deployment} may run: it is parked (max replica count 0)",
                hint=f"firectl deployment update {row.deployment} --max-replica-count 1",
            )

    def wait_unloaded(
        self,
        name: str,
        timeout: float = WAIT_SECONDS,
        **args: Unpack[WaitArgs[DeployedModel]],
    ) -> None:
        """Returns once the row is not there any more."""
        full = self.full_name(name)
        gone = DeployedModel(name=full, state=GONE)
        self._wait(full, timeout, "unloaded", lambda found: found.state == GONE, gone=gone, existed=True, **args)
