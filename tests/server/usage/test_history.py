"""The stored history of the traffic: series out of its rows, and how old rows are merged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from firectl.server.store import Store
from firectl.server.store.rows import UsageRow
from firectl.server.usage.history import FINEST, Question, begin, series, tidy

NOW = datetime(2026, 3, 4, 12, 0, 7, tzinfo=UTC)


def test_an_interval_begins_at_a_multiple_of_its_length() -> None:
    assert datetime.fromtimestamp(begin(NOW, FINEST), UTC) == NOW.replace(second=0)
    assert datetime.fromtimestamp(begin(NOW, 3600), UTC) == NOW.replace(minute=0, second=0)


def test_a_bucket_is_its_amount_by_its_length_and_an_empty_one_is_zero() -> None:
    rows = [
        UsageRow(deployment=name, model="m", start=start, length=10, generated_tokens=tokens, requests=1)
        for name, start, tokens in (("a", 100, 30), ("a", 110, 60), ("a", 220, 6), ("b", 100, 0), ("b", 300, 9))
    ]
    question = Question("tokens-per-second", "deployment", 100, 300, 60)
    assert series(question, rows) == [("a", [(100, 1.5), (160, 0.0), (220, 0.1), (280, 0.0)])]
    by_model = Question("requests-per-second", "model", 100, 400, 300)
    assert series(by_model, rows) == [("m", [(100, 5 / 300)])]


def test_old_rows_become_longer_ones_without_losing_a_request_and_very_old_ones_go(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'platform.sqlite'}")
    ages = [timedelta(seconds=0), timedelta(days=2), timedelta(days=2, seconds=FINEST), timedelta(days=800)]
    with store.note() as tx:
        for age in ages:
            start = begin(NOW.replace(minute=1) - age, FINEST)
            tx.usage.add([UsageRow(deployment="accounts/a/d", model="m", start=start, length=FINEST, requests=1)])
        tidy(tx, NOW)
        rows = tx.usage.between("accounts/a/", 0, 2**40)
    store.close()
    assert [(row.length, row.requests) for row in rows] == [(300, 2), (FINEST, 1)]
