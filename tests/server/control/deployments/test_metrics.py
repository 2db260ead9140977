"""Figures of deployments: which question the words of a request ask, and what answers it over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from firectl.errors import ApiError
from firectl.names import random_id
from firectl.server.control.deployments.metrics import question
from firectl.server.store import Store
from firectl.server.store.rows import UsageRow
from firectl.server.usage.history import Question
from tests.server.process import Api, PlatformProcess

NOW = datetime(2026, 3, 4, 12, 0, 7, tzinfo=UTC)
DAY = 86400


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def asked(start: str = "", end: str = "", interval: str = "", metric: str = "tokens-per-second") -> Question:
    return question(metric, "deployment", start, end, interval, NOW)


@pytest.mark.parametrize(
    ("start", "end", "interval", "begin", "stop", "seconds"),
    [
        ("", "", "", "2026-03-03T12:00:10+00:00", "2026-03-04T12:00:10+00:00", DAY),
        ("2026-03-01", "2026-03-02", "24h", "2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00", DAY),
        ("2026-03-04", "2026-03-04", "3600s", "2026-03-04T00:00:00+00:00", "2026-03-04T12:00:10+00:00", 3600),
        ("2026-03-04", "2026-03-09", "1h30m", "2026-03-04T00:00:00+00:00", "2026-03-04T12:00:10+00:00", 5400),
        (
            "2026-03-04T01:02:03Z",
            "2026-03-04T03:00:00+01:00",
            "60s",
            "2026-03-04T01:02:00Z",
            "2026-03-04T02:00:00Z",
            60,
        ),
    ],
)
def test_dates_and_durations_are_read_as_people_write_them(
    start: str, end: str, interval: str, begin: str, stop: str, seconds: int
) -> None:
    found = asked(start, end, interval)
    assert (found.start, found.end, found.interval) == (at(begin), at(stop), seconds)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"metric": ""}, "metric"),
        ({"metric": "tokens"}, "metric"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2026-13-01"}, "start"),
        ({"end": "0001-01-01T00:00:00+23:00"}, "end"),
        ({"start": "2026-03-02", "end": "2026-02-01"}, "end"),
        ({"interval": "24"}, "interval"),
        ({"interval": "5s"}, "interval"),
        ({"interval": "15s"}, "interval"),
        ({"interval": "99999h99999h"}, "interval"),
        ({"start": "1970-01-01", "interval": "10s"}, "interval"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(words: dict[str, str], field: str) -> None:
    with pytest.raises(ApiError, match=f"query parameter {field}: ") as caught:
        asked(**words)
    assert caught.value.http_status == 400


def test_history_is_read_by_deployment_and_model_over_http(api: Api, platform: PlatformProcess) -> None:
    name = f"{api.account}/deployments/h-{random_id()}"
    store = Store(f"sqlite:///{platform.home / 'platform.sqlite'}")
    today = int(datetime.now(UTC).timestamp()) // DAY * DAY
    with store.note() as tx:
        for model, tokens in (("x", 86400), ("y", 43200)):
            row = UsageRow(deployment=name, model=f"{name}/{model}", start=today, length=10, generated_tokens=tokens)
            tx.usage.add([row])
    store.close()
    day = datetime.now(UTC).date()
    query = {"metric": "tokens-per-second", "start": str(day), "end": str(day + timedelta(days=1))}
    found = api.ok("GET", "deploymentMetrics", **query, groupBy="deployment", interval="86400s")["series"]
    assert {"labels": {"deployment": name}, "values": [{"timestamp": today, "value": "1.5"}]} in found
    models = api.ok("GET", "deploymentMetrics", **query, groupBy="model", interval="24h")["series"]
    values = {row["labels"]["model"]: row["values"] for row in models}
    assert values[f"{name}/y"] == [{"timestamp": today, "value": "0.5"}]
    said = api.refused("GET", "deploymentMetrics", metric="tokens-per-second", groupBy="region")
    assert (said.status, said.code) == (400, 3)
    assert said.message == "query parameter groupBy: expected one of deployment, model, got 'region'"
    assert api.call("GET", "/v1/accounts/other/deploymentMetrics?metric=tokens-per-second").status_code == 404


def test_the_page_of_an_account_is_prometheus_text_and_not_for_strangers(api: Api, base: str) -> None:
    name = f"{api.account}/deployments/{api.parked(base)}"
    answer = api.call("GET", "metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert f'firectl_desired_replicas{{deployment="{name}"}} 0.0' in answer.text
    assert api.call("GET", "/v1/accounts/other/metrics").status_code == 404
