"""Deployments: create, wait until they serve, scale, delete and undelete."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Unpack

from firectl import names
from firectl.client.resource import Resource, WaitArgs
from firectl.errors import ApiError, Code
from firectl.schemas.deployment import Deployment, ReplicaStats, ScaleDeployment
from firectl.schemas.words import DeploymentState

WAIT_SECONDS = 3600.0
_GONE = frozenset({DeploymentState.DELETING, DeploymentState.DELETED})


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
        """Create a deployment with the ID `deployment_id` or 8 random characters.

        The ID is chosen before the request is sent, so that a retry cannot create a second one.
        """
        chosen = deployment_id or names.random_id()
        names.check_id(chosen, "deployment")
        full = self.full_name(chosen)
        return self._create(
            deployment,
            query={
                "deploymentId": chosen,
                "validateOnly": validate_only,
                "disableAutoDeploy": disable_auto_deploy,
                "disableSpeculativeDecoding": disable_speculative_decoding,
                "skipShapeValidation": skip_shape_validation,
            },
            read_back=self._read_back(full, lambda made: made.base_model == deployment.base_model),
            look=f"{self.look} {chosen}",
        )

    def update(
        self,
        name: str,
        resource: Deployment,
        mask: Iterable[str] | None = None,
        *,
        skip_shape_validation: bool | None = None,
    ) -> Deployment:
        """Change the fields in `mask` (snake_case paths).

        Without a mask, change the fields that are set on `resource`.
        """
        return self._update(name, resource, mask, {"skipShapeValidation": skip_shape_validation})

    def scale(self, name: str, replica_count: int) -> None:
        body = ScaleDeployment(replica_count=replica_count).to_wire()
        self._client.request("PATCH", f"/v1/{self.full_name(name)}:scale", body=body)

    def delete(self, name: str, *, hard: bool | None = None, ignore_checks: bool | None = None) -> None:
        """Delete a deployment. `undelete` can restore it unless `hard` is true.

        FAILED_PRECONDITION if it was used recently, unless `ignore_checks` is true.
        """
        self._delete(name, {"hard": hard, "ignoreChecks": ignore_checks})

    def undelete(self, name: str) -> Deployment:
        path = f"/v1/{self.full_name(name)}"

        def is_back(error: ApiError) -> dict[str, object] | None:
            found = self.get(name) if error.code is Code.FAILED_PRECONDITION else None
            return found.to_wire() if found is not None and found.state not in _GONE else None

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
        """Wait until the state is in `until`, and return the deployment.

        READY also requires a ready replica, if any is wanted.

        `replicas`: how many must be ready. Once a poll has shown this desired number, later changes of it count.
        `on_change` gets the deployment when its state, replica counts or status message change. ResourceFailed if it
        becomes FAILED, NOT_FOUND if it is deleted, WaitTimeout after `timeout` seconds. Transient errors do not end it.
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
            if found.state in _GONE:
                raise ApiError(Code.NOT_FOUND, f"{full} was deleted during the wait")
            return False

        gone = Deployment(name=full, state=DeploymentState.DELETED)
        return self._wait(full, timeout, " or ".join(sorted(until)), done, gone=gone, **args)

    def wait_deleted(self, name: str, timeout: float = WAIT_SECONDS, **args: Unpack[WaitArgs[Deployment]]) -> None:
        """Wait until the deployment is DELETED or no longer exists."""
        full = self.full_name(name)
        gone = Deployment(name=full, state=DeploymentState.DELETED)
        self._wait(full, timeout, "deleted", lambda found: found.state == gone.state, gone=gone, existed=True, **args)

    def describe(self, row: Deployment) -> str:
        """Describe the state in a few words: `CREATING, 0 replicas ready, 1 initializing (starting a replica)`."""
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
    """Whether the deployment should have replicas: it is neither parked (maximum 0) nor scaled to zero."""
    return deployment.max_replica_count != 0 and deployment.desired_replica_count != 0


def ready_replicas(deployment: Deployment) -> int:
    """Count the ready replicas. If the server gives no counts, a READY deployment counts as one."""
    if deployment.replica_stats is not None:
        return deployment.replica_stats.ready_replica_count or 0
    if deployment.replica_count is not None:
        return deployment.replica_count
    return 1 if deployment.state == DeploymentState.READY else 0
