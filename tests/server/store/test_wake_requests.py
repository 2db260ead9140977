"""A request for a deployment that is scaled to zero wants one replica, if the deployment may run one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firectl.errors import ApiError, Code
from firectl.schemas.words import DeploymentState
from firectl.server.store import Store
from firectl.server.store.rows import DeploymentRow
from firectl.server.store.wake_requests import wake
from tests.server.store.rows import DEPLOYMENT, NOW

LATER = NOW + timedelta(hours=1)
ASLEEP = replace(DEPLOYMENT, name="accounts/a/deployments/asleep", desired_replicas=0)


def woken(store: Store, row: DeploymentRow, cap: int = 4) -> DeploymentRow | None:
    """The row after a request; None when the request changed nothing."""
    with store.begin() as tx:
        tx.deployments.insert(row)
        changed = wake(tx, row.name, cap, LATER)
        after = tx.deployments.get(row.name)
    assert changed == (after != row)
    return after if changed else None


@pytest.mark.parametrize("state", [DeploymentState.CREATING, DeploymentState.READY, DeploymentState.UPDATING])
def test_one_replica_is_wanted_from_now_on(store: Store, state: str) -> None:
    row = replace(ASLEEP, state=state)
    assert woken(store, row) == replace(row, desired_replicas=1, woken_time=LATER)


def test_a_deployment_that_runs_or_may_not_run_is_left_alone(store: Store) -> None:
    parked = ASLEEP.resource.model_copy(update={"max_replica_count": 0})
    assert woken(store, replace(ASLEEP, name="accounts/a/deployments/1", desired_replicas=1)) is None
    assert woken(store, replace(ASLEEP, name="accounts/a/deployments/2", resource=parked)) is None
    assert woken(store, replace(ASLEEP, name="accounts/a/deployments/3", state=DeploymentState.FAILED)) is None
    with store.begin() as tx:
        assert not wake(tx, "accounts/a/deployments/missing", 4, LATER)


def test_without_room_the_row_stays_as_it_is(store: Store) -> None:
    with pytest.raises(ApiError) as raised:
        woken(store, ASLEEP, cap=1)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
