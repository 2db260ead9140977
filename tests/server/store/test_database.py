"""`server/store/database.py`: whole transactions, writers one after the other, databases of earlier versions."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from firectl.errors import InputError
from firectl.server.store import Store
from firectl.server.store.rows import FileRow, UsageRow
from tests.server.store.rows import DEPLOYMENT, LOAD, MODEL, NOW, fill


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
    with closing(Store(f"sqlite:///{path}")) as store:
        fill(store)
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


def test_columns_of_an_earlier_version_keep_their_values_and_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    with closing(Store(f"sqlite:///{path}")) as store:
        fill(store)
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


def test_a_note_keeps_the_version_that_was_read(store: Store) -> None:
    before = store.version
    with store.note() as tx:
        tx.deployments.update(DEPLOYMENT.name, last_request_time=NOW)
    assert store.version == before
    with store.begin():
        pass
    assert store.version != before
