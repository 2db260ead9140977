"""Deployments: create, watch until they serve, scale, delete, and take back a delete."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Unpack

from firectl import names
from firectl.client.resource import Resource, WaitArgs
from firectl.errors import ApiError, Code
from firectl.schemas.deployment import Deployment, ReplicaStats, ScaleDeployment
from firectl.schemas.words import DeploymentState

WAIT_SECONDS = 3600.0
CLOCK_SLACK = timedelta(minutes=5)


class Deployments(Resource[Deployment]):
    collection = "deployments"
    schema = Deployment
    look = "firectl deployment get"

    def create(
        self,
        deployment: Deployment,
        *,
        deployment_id: str | None = None,
        validate_only: bool | None = None,
        disable_auto_deploy: bool | None = None,
        disable_speculative_decoding: bool | None = None,
        skip_shape_validation: bool | None = None,
    ) -> Deployment:
        """A new deployment, named `deployment_id` or 8 random characters.

        The ID is always known before it is sent, so that a lost answer can be asked for again: exactly one is made.
        """
        chosen = deployment_id or names.random_id()
        names.check_id(chosen, "deployment")
        path = f"/v1/accounts/{self._client.account}/{self.collection}"
        started = datetime.now(UTC)

        def read_back() -> Deployment | None:
            made = self.get(f"accounts/{self._client.account}/deployments/{chosen}")
            recent = made.create_time is None or made.create_time > started - CLOCK_SLACK
            return made if recent and made.base_model == deployment.base_model else None

        return self._create(
            path,
            deployment,
            query={
                "deploymentId": chosen,
                "validateOnly": validate_only,
                "disableAutoDeploy": disable_auto_deploy,
                "disableSpeculativeDecoding": disable_speculative_decoding,
                "skipShapeValidation": skip_shape_validation,
            },
            read_back=read_back,
            look=f"firectl deployment get {chosen}",
        )

    def update(
        self,
        name: str,
        deployment: Deployment,
        mask: Iterable[str] | None = None,
        *,
        skip_shape_validation: bool | None = None,
    ) -> Deployment:
        """Changes the fields named in `mask` (snake_case paths), else those set on `deployment`, and no others."""
        return self._update(name, deployment, mask, {"skipShapeValidation": skip_shape_validation})

    def scale(self, name: str, replica_count: int) -> None:
        body = ScaleDeployment(replica_count=replica_count).to_wire()
        self._client.request("PATCH", f"/v1/{self.full_name(name)}:scale", body=body)

    def delete(self, name: str, *, hard: bool | None = None, ignore_checks: bool | None = None) -> None:
        """Deletes it, softly unless `hard`. FAILED_PRECONDITION after recent use unless `ignore_checks`."""
        self._delete(name, {"hard": hard, "ignoreChecks": ignore_checks})

    def undelete(self, name: str) -> Deployment:
        path = f"/v1/{self.full_name(name)}"

        def is_back(error: ApiError) -> dict[str, object] | None:
            found = self.get(name) if error.code is Code.FAILED_PRECONDITION else None
            return (
                found.to_wire()
                if found and found.state not in (DeploymentState.DELETING, DeploymentState.DELETED)
                else None
            )

        answer = self._client.request("POST", f"{path}:undelete", body={}, repeatable=True, settled=is_back)
        return self._one(answer, path, made=True)

    def wait(
        self,
        name: str,
        timeout: float = WAIT_SECONDS,
        *,
        until: Collection[str] = frozenset({DeploymentState.READY}),
        replicas: int | None = None,
        **args: Unpack[WaitArgs[Deployment]],
    ) -> Deployment:
        """The deployment once its state is in `until`; for READY also a replica must be ready, if it wants any.

        `replicas`: so many must be ready instead, or as many as autoscaling wants after that was asked for.
        `on_change` gets it whenever its state, replica counts or status message changed. ResourceFailed when it goes to
        FAILED, NOT_FOUND when it is deleted meanwhile, WaitTimeout after `timeout` seconds. Network errors pass.
        """
        full = self.full_name(name)
        asked = False

        def done(found: Deployment) -> bool:
            nonlocal asked
            if found.state in until and replicas is not None:
                wanted = replicas if found.desired_replica_count is None else found.desired_replica_count
                asked = asked or wanted == replicas
                return asked and ready_replicas(found) == wanted and (found.replica_count or 0) <= wanted
            if found.state in until:
                return found.state != DeploymentState.READY or not wants_replicas(found) or ready_replicas(found) > 0
            if found.state == DeploymentState.FAILED:
                raise self._failed(full, found.status)
            if found.state in (DeploymentState.DELETING, DeploymentState.DELETED):
                raise _deleted(full)
            return False

        gone = Deployment(name=full, state=DeploymentState.DELETED)
        return self._wait(full, timeout, " or ".join(sorted(until)), done, gone=gone, **args)

    def wait_deleted(
        self,
        name: str,
        timeout: float = WAIT_SECONDS,
        **args: Unpack[WaitArgs[Deployment]],
    ) -> None:
        """Returns once it is DELETED or not there any more."""
        full = self.full_name(name)
        gone = Deployment(name=full, state=DeploymentState.DELETED)
        self._wait(
            full,
            timeout,
            "deleted",
            lambda found: found.state == DeploymentState.DELETED,
            gone=gone,
            existed=True,
            **args,
        )

    def describe(self, row: Deployment) -> str:
        """Its state in a few words: `CREATING, 0 replicas ready, 1 initializing (starting a replica)`."""
        count = ready_replicas(row)
        stats = row.replica_stats or ReplicaStats()
        stages = (
            ("pending", stats.pending_scheduling_replica_count),
            ("downloading", stats.downloading_model_replica_count),
            ("initializing", stats.initializing_replica_count),
        )
        on_the_way = "".join(f", {number} {stage}" for stage, number in stages if number)
        said = row.status.message if row.status and row.status.message else ""
        ready = f"{row.state}, {count} {'replica' if count == 1 else 'replicas'} ready"
        return f"{ready}{on_the_way}" + (f" ({said})" if said else "")

    def _seen(self, row: Deployment) -> Hashable:
        return row.replica_stats is None, self.describe(row)


def wants_replicas(deployment: Deployment) -> bool:
    """Whether it is meant to run now: neither parked with a maximum of 0 nor scaled to zero."""
    return deployment.max_replica_count != 0 and deployment.desired_replica_count != 0


def ready_replicas(deployment: Deployment) -> int:
    """How many replicas serve. A server that does not count them is believed to have one when it says READY."""
    if deployment.replica_stats is not None:
        return deployment.replica_stats.ready_replica_count or 0
    if deployment.replica_count is not None:
        return deployment.replica_count
    return 1 if deployment.state == DeploymentState.READY else 0


def _deleted(full: str) -> ApiError:
    return ApiError(Code.NOT_FOUND, f"{full} was deleted meanwhile")
