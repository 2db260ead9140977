"""What the store promises: whole transactions, writers one after the other, rows that come back as they went in."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from firectl.errors import InputError
from firectl.schemas.base import Status
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import AutoscalingPolicy, Deployment
from firectl.schemas.model import Model
from firectl.schemas.words import DeploymentState, ModelKind
from firectl.server.store import Store
from firectl.server.store.rows import AccountRow, DeployedModelRow, DeploymentRow, FileRow, ModelRow, UsageRow

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
    served_folder=None,
    merge_record=None,
    last_request_time=None,
    create_time=NOW,
    update_time=NOW,
    delete_time=None,
    purge_time=None,
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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'db.sqlite'}")
    fill(store)
    yield store
    store.close()


def fill(store: Store) -> None:
    """One account, model, deployment and deployed model."""
    with store.begin() as tx:
        tx.accounts.insert(AccountRow(name="accounts/a", display_name="A", create_time=NOW))
        tx.models.insert(MODEL)
        tx.deployments.insert(DEPLOYMENT)
        tx.deployed_models.insert(LOAD)


def test_rows_come_back_as_they_went_in(store: Store) -> None:
    with store.read() as tx:
        assert tx.models.get(MODEL.name) == MODEL
        assert tx.deployments.get(DEPLOYMENT.name) == DEPLOYMENT
        assert tx.deployed_models.get(LOAD.name) == LOAD
        assert tx.models.get("accounts/a/models/none") is None


def test_times_come_back_in_utc_whatever_their_zone(store: Store) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with store.begin() as tx:
        tx.deployments.update(DEPLOYMENT.name, last_request_time=there)
    with store.read() as tx:
        row = tx.deployments.get(DEPLOYMENT.name)
    assert row is not None
    assert row.last_request_time == NOW
    assert row.last_request_time.utcoffset() == timedelta(0)


def test_an_update_changes_its_columns_alone_and_says_whether_there_was_a_row(store: Store) -> None:
    with store.begin() as tx:
        assert tx.deployments.update(DEPLOYMENT.name, desired_replicas=3, merge_record={"tensors_changed": 2})
        assert not tx.deployments.update("accounts/a/deployments/none", desired_replicas=3)
    with store.read() as tx:
        expected = replace(DEPLOYMENT, desired_replicas=3, merge_record={"tensors_changed": 2})
        assert tx.deployments.get(DEPLOYMENT.name) == expected


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.begin() as tx:
            tx.models.update(MODEL.name, state="UPLOADING")
            tx.files.put(FileRow(model=MODEL.name, filename="f", size=1, sha256=None, complete=False))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.read() as tx:
        assert tx.models.get(MODEL.name) == MODEL
        assert tx.files.of_model(MODEL.name) == []


def test_writers_take_turns_so_that_what_was_read_still_holds(store: Store) -> None:
    def count() -> None:
        for _ in range(25):
            with store.begin() as tx:
                row = tx.deployments.get(DEPLOYMENT.name)
                assert row is not None
                tx.deployments.update(row.name, desired_replicas=row.desired_replicas + 1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        row = tx.deployments.get(DEPLOYMENT.name)
    assert row is not None
    assert row.desired_replicas == 1 + 8 * 25


def test_a_reader_sees_one_moment_and_waits_for_no_writer(store: Store) -> None:
    with store.read() as before:
        assert before.models.get(MODEL.name) == MODEL
        with store.begin() as tx:
            tx.models.update(MODEL.name, state="UPLOADING")
        assert before.models.get(MODEL.name) == MODEL
    with store.read() as after:
        assert after.models.get(MODEL.name) == replace(MODEL, state="UPLOADING")


def test_a_name_is_taken_once(store: Store) -> None:
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.models.insert(MODEL)


def test_a_model_has_one_default_at_most(store: Store) -> None:
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.deployed_models.insert(replace(LOAD, name="accounts/a/deployedModels/other"))
    with store.begin() as tx:
        for number in range(2):
            tx.deployed_models.insert(replace(LOAD, name=f"accounts/a/deployedModels/{number}", default=False))
        assert tx.deployed_models.default_of(MODEL.name) == LOAD


def test_what_is_deployed_cannot_vanish_from_under_its_row(store: Store) -> None:
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.models.delete(MODEL.name)
    with pytest.raises(IntegrityError), store.begin() as tx:
        tx.deployments.delete(DEPLOYMENT.name)


def test_a_model_takes_the_rows_of_its_files_along(store: Store) -> None:
    with store.begin() as tx:
        tx.deployed_models.delete(LOAD.name)
        tx.files.put(FileRow(model=MODEL.name, filename="f", size=1, sha256=None, complete=False))
        tx.files.put(FileRow(model=MODEL.name, filename="f", size=2**40, sha256="00", complete=True))
        assert tx.files.of_model(MODEL.name) == [
            FileRow(model=MODEL.name, filename="f", size=2**40, sha256="00", complete=True)
        ]
        assert tx.models.delete(MODEL.name)
        assert tx.files.of_model(MODEL.name) == []


def test_lists_are_by_account_and_active_ones_are_not_deleted(store: Store) -> None:
    older = replace(
        DEPLOYMENT, name="accounts/a/deployments/x", create_time=NOW - timedelta(1), state=DeploymentState.DELETED
    )
    with store.begin() as tx:
        tx.deployments.insert(older)
        assert [row.name for row in tx.deployments.of_account("accounts/a")] == [older.name, DEPLOYMENT.name]
        assert tx.deployments.of_account("accounts/b") == []
        assert tx.deployments.active() == [DEPLOYMENT]
        assert tx.deployments.of_model(MODEL.name) == [DEPLOYMENT]
        assert tx.deployed_models.of_pair(MODEL.name, DEPLOYMENT.name) == [LOAD]
        assert tx.deployed_models.of_deployment(older.name) == []


def test_a_database_that_a_newer_firectl_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    Store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    connection.close()
    with pytest.raises(InputError, match="the platform's database has schema version 99, this firectl needs "):
        Store(f"sqlite:///{path}")


def test_a_database_of_the_first_version_opens_with_its_rows_and_gets_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    fill(Store(f"sqlite:///{path}"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '1'")
        connection.execute("DROP TABLE usage")
        for column in ("woken_time", "auto_deploy", "taken_along", "parity"):
            connection.execute(f"ALTER TABLE deployments DROP COLUMN {column}")
        connection.execute("ALTER TABLE deployed_models DROP COLUMN parity")
    connection.close()
    for _ in range(2):
        store = Store(f"sqlite:///{path}")
        with store.begin() as tx:
            assert tx.deployments.get(DEPLOYMENT.name) == DEPLOYMENT
            tx.usage.add([UsageRow(deployment="d", model="m", start=0, length=10, requests=1)])
        store.close()


def test_figures_that_an_earlier_version_kept_stay_where_they_are_and_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    fill(Store(f"sqlite:///{path}"))
    kept = '{"changesAnswers": true, "waysAgree": true}'
    with sqlite3.connect(path) as connection:
        for table in ("deployments", "deployed_models"):
            connection.execute(f"UPDATE {table} SET parity = ?", [kept])
    connection.close()
    store = Store(f"sqlite:///{path}")
    with store.begin() as tx:
        assert tx.deployments.get(DEPLOYMENT.name) == DEPLOYMENT
        assert tx.deployed_models.get(LOAD.name) == LOAD
        tx.deployments.update(DEPLOYMENT.name, desired_replicas=0)
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute(
            "SELECT parity FROM deployments UNION SELECT parity FROM deployed_models"
        ).fetchall() == [(kept,)]
    connection.close()


def test_amounts_add_up_and_become_coarser_with_age(store: Store) -> None:
    def row(start: int, length: int = 10, requests: int = 1, tokens: int = 5) -> UsageRow:
        return UsageRow(
            deployment="accounts/a/deployments/d",
            model="m",
            start=start,
            length=length,
            requests=requests,
            generated_tokens=tokens,
        )

    with store.note() as tx:
        tx.usage.add([row(600), row(600), row(610), row(900), row(1200)])
        tx.usage.add([UsageRow(deployment="accounts/ab/deployments/d", model="m", start=600, length=10, requests=9)])
        tx.usage.roll_up(10, 300, 1200)
        rolled = [row(600, 300, 3, 15), row(900, 300), row(1200)]
        assert tx.usage.between("accounts/a/deployments/", 0, 2000) == rolled
        tx.usage.roll_up(10, 300, 1200)
        tx.usage.drop(900)
        assert tx.usage.between("accounts/a/deployments/", 0, 1200) == [row(900, 300)]


def test_a_note_leaves_what_was_read_as_good_as_it_was(store: Store) -> None:
    before = store.version
    with store.note() as tx:
        tx.deployments.update(DEPLOYMENT.name, last_request_time=NOW)
    assert store.version == before
    with store.begin():
        pass
    assert store.version != before
