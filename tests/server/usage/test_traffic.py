"""The counts of the traffic: what a request adds, and how they reach the database."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from firectl.server.store import Store
from firectl.server.usage.traffic import CLIENT_LEFT, Traffic, TrafficCount

NOW = datetime(2026, 3, 4, 12, 0, 7, tzinfo=UTC)
NAME, MODEL = "accounts/me/deployments/d", "accounts/me/models/m"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'platform.sqlite'}")
    yield store
    store.close()


def written(store: Store) -> list[tuple[int, int, int, int]]:
    """(requests, errors, prompt tokens, generated tokens) of each row."""
    with store.read() as tx:
        rows = tx.usage.between("accounts/me/", 0, 2**40)
    return [(row.requests, row.errors, row.prompt_tokens, row.generated_tokens) for row in rows]


def run(story: Coroutine[None, None, None]) -> None:
    asyncio.run(story)


def test_busy_time_is_the_integral_of_the_requests_in_flight() -> None:
    count = TrafficCount(_since=10.0)
    for change, at in ((1, 10.0), (1, 12.0), (-2, 13.0), (0, 20.0)):
        count.move(change, at)
    assert (count.in_flight, count.busy_seconds) == (0, 4.0)


@pytest.mark.parametrize(("status", "errors"), [(200, 0), (CLIENT_LEFT, 0), (500, 1)])
def test_a_request_is_in_flight_to_its_end_and_is_written_with_its_tokens(
    store: Store, status: int, errors: int
) -> None:
    async def story() -> None:
        traffic = Traffic(store, lambda: NOW)
        reservation = traffic.admit(NAME, MODEL)
        assert (traffic.of(NAME).in_flight, traffic.last_request_time(NAME)) == (1, NOW)
        reservation.usage({"prompt_tokens": 7, "completion_tokens": 5})
        reservation.end(status)
        count = traffic.of(NAME)
        assert (count.in_flight, count.requests, count.generated_tokens) == (0, 1, 5)
        await traffic.flush()

    run(story())
    assert written(store) == [(1, errors, 7, 5)]


def test_a_refused_request_is_an_error_that_was_never_in_flight(store: Store) -> None:
    async def story() -> None:
        traffic = Traffic(store, lambda: NOW)
        traffic.refuse(NAME, MODEL, 503)
        assert (traffic.of(NAME).requests, traffic.last_request_time(NAME)) == (0, None)
        await traffic.flush()

    run(story())
    assert written(store) == [(1, 1, 0, 0)]


def test_usage_that_is_no_count_is_zero(store: Store) -> None:
    async def story() -> None:
        reservation = Traffic(store, lambda: NOW).admit(NAME, MODEL)
        reservation.usage({"prompt_tokens": "many", "completion_tokens": -1})
        reservation.usage("nothing")
        assert (reservation.prompt_tokens, reservation.generated_tokens) == (0, 0)

    run(story())


def test_amounts_of_a_failed_write_come_with_the_next_one(tmp_path: Path, store: Store) -> None:
    def rename(before: str, after: str) -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "platform.sqlite")) as database:
            database.execute(f"ALTER TABLE {before} RENAME TO {after}")

    async def story() -> None:
        traffic = Traffic(store, lambda: NOW)
        traffic.refuse(NAME, MODEL, 503)
        rename("usage", "hidden")
        with pytest.raises(OperationalError):
            await traffic.flush()
        rename("hidden", "usage")
        traffic.refuse(NAME, MODEL, 503)
        await traffic.flush()

    run(story())
    assert written(store) == [(2, 2, 0, 0)]


def test_a_deployment_that_is_gone_is_forgotten_and_its_history_stays(store: Store) -> None:
    async def story() -> None:
        traffic = Traffic(store, lambda: NOW)
        traffic.admit(NAME, MODEL).end(200)
        await traffic.flush()
        traffic.forget(set())
        assert (traffic.of(NAME).requests, traffic.last_request_time(NAME)) == (0, None)

    run(story())
    assert written(store) == [(1, 0, 0, 0)]
