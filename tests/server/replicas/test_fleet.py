"""All replicas of the machine: their settings, their logs, and what is remembered of a deployment."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firectl.server.lifecycle.observed import LoadAdapter, StartReplica, StopReplica
from firectl.server.replicas.fleet import ENGINE_SLOTS, Fleet, FleetSettings
from tests.server.lifecycle.rows import FOLDER, NAME, deployment
from tests.server.replicas.platform import SCRIPTED


def fleet(home: Path, settings: FleetSettings = SCRIPTED) -> Fleet:
    return Fleet(home, "accounts/me", settings, lambda: None, lambda: datetime.now(UTC))


def test_two_replicas_share_the_cores_unless_told_otherwise() -> None:
    assert FleetSettings().threads_each() == max(1, (os.cpu_count() or 1) // 2)
    assert FleetSettings(threads=5).threads_each() == 5
    assert (FleetSettings().slots, FleetSettings(max_num_seqs=2).slots) == (ENGINE_SLOTS, 2)


@pytest.mark.parametrize(("account", "log"), [("me", "d-1.log"), ("you", "you.d-1.log")])
def test_a_log_is_named_after_the_deployment_and_a_foreign_account(tmp_path: Path, account: str, log: str) -> None:
    assert fleet(tmp_path).log_file(f"accounts/{account}/deployments/d", 1) == tmp_path / "logs" / log


def test_a_replica_is_started_once_and_forgotten_when_it_is_gone_with_its_deployment(tmp_path: Path) -> None:
    async def story() -> None:
        found = fleet(tmp_path)
        row = deployment()
        assert not found.replica_set(NAME).replicas
        found.do(row, LoadAdapter(0, "a", "models/a"))  # there is no such replica
        for _ in range(2):
            found.do(row, StartReplica(0, FOLDER))
        replicas = found.replica_set(NAME)
        (replica,) = replicas.replicas.values()
        assert replica.folder == FOLDER
        found.forget(set())
        assert found.replica_set(NAME) is replicas
        found.do(row, StopReplica(0, drain=False))
        await replica.wait_gone()
        found.forget(set())
        assert found.replica_set(NAME) is not replicas

    asyncio.run(story())


def test_nothing_starts_once_the_fleet_ended(tmp_path: Path) -> None:
    async def story() -> None:
        found = fleet(tmp_path)
        found.do(deployment(), StartReplica(0, FOLDER))
        await found.stop()
        assert not found.replica_set(NAME).replicas
        found.do(deployment(), StartReplica(0, FOLDER))
        assert not found.replica_set(NAME).replicas

    asyncio.run(story())
