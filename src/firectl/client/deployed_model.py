"""Deployed models: load a LoRA onto a deployment, wait for it, find it, unload it."""

from __future__ import annotations

from typing import Unpack

from firectl.client.deployment import Deployments
from firectl.client.resource import Resource, WaitArgs
from firectl.errors import ApiError, Code
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.words import LoadState

WAIT_SECONDS = 1800.0
GONE = "GONE"
"""A state that only this client uses, for a row that does not exist. No server sends it."""


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
        """Load a LoRA onto a deployment. `model` and `deployment` are IDs or full names."""
        asked = DeployedModel(
            model=self._client.full_name(model, "models"),
            deployment=self._client.full_name(deployment, "deployments"),
            display_name=display_name,
            description=description,
            public=public,
            default=default,
        )
        return self._create(
            asked,
            query={"replaceMergedAddon": replace_merged_addon},
            read_back=lambda: self._find(asked.model, asked.deployment),
            look="firectl deployed-model list",
        )

    def find(self, model: str, deployment: str) -> DeployedModel:
        """Return the row of `model` on `deployment`; NOT_FOUND if the model is not loaded on it."""
        model, deployment = self._client.full_name(model, "models"), self._client.full_name(deployment, "deployments")
        row = self._find(model, deployment)
        if row is None:
            raise ApiError(Code.NOT_FOUND, f"{model} is not loaded on {deployment}", hint="firectl deployed-model list")
        return row

    def _find(self, model: str | None, deployment: str | None) -> DeployedModel | None:
        # Filter here: some servers do not support a filter in the request.
        rows = (row for row in self.list() if row.model == model and row.deployment == deployment)
        return next(rows, None)

    def unload(self, model: str, deployment: str) -> DeployedModel:
        """Unloads `model` from `deployment`, and returns its row."""
        row = self.find(model, deployment)
        self.delete(row.name or "")
        return row

    def wait(self, name: str, timeout: float = WAIT_SECONDS, **args: Unpack[WaitArgs[DeployedModel]]) -> DeployedModel:
        """Wait until the row is DEPLOYED, and return it.

        FAILED_PRECONDITION with the server's reason if the load fails (its row is then deleted), and if the deployment
        is parked (the load would never start). WaitTimeout after `timeout` seconds. Transient errors do not end the
        wait.
        """
        full = self.full_name(name)
        reason: str | None = None

        def done(found: DeployedModel) -> bool:
            nonlocal reason
            status = found.status
            if status and status.message and status.code != "OK":
                reason = status.message
            if found.state in (LoadState.UNDEPLOYING, GONE):
                what = "was unloaded during the wait" if reason is None else f"could not be loaded: {reason}"
                raise ApiError(Code.FAILED_PRECONDITION, f"{full} {what}")
            if found.state == LoadState.DEPLOYING and status and status.code == Code.FAILED_PRECONDITION.name:
                self._refuse_parked(found)
            return found.state == LoadState.DEPLOYED

        return self._wait(full, timeout, LoadState.DEPLOYED, done, gone=DeployedModel(name=full, state=GONE), **args)

    def _refuse_parked(self, row: DeployedModel) -> None:
        """Raise FAILED_PRECONDITION if the row's deployment is parked (may have no replicas)."""
        if not row.deployment:
            return
        try:
            parked = Deployments(self._client).get(row.deployment).max_replica_count == 0
        except ApiError:
            return  # the wait continues and ends by its own rules
        if parked:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"{row.name} cannot be loaded: {row.deployment} is parked (max replica count 0)",
                hint=f"firectl deployment update {row.deployment} --max-replica-count 1",
            )

    def wait_unloaded(self, name: str, timeout: float = WAIT_SECONDS, **args: Unpack[WaitArgs[DeployedModel]]) -> None:
        """Wait until the row no longer exists."""
        full = self.full_name(name)
        gone = DeployedModel(name=full, state=GONE)
        self._wait(full, timeout, "unloaded", lambda found: found.state == GONE, gone=gone, existed=True, **args)
