"""Figures of deployments: which question the words of a request ask, the series that answers it, Prometheus' page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from firectl.errors import ApiError
from firectl.names import random_id
from firectl.server.control.deployments.metrics import question
from firectl.server.store import Store
from firectl.server.store.rows import UsageRow
from firectl.server.usage.history import Question, series
from firectl.server.usage.metrics import ReplicaCounts, TrafficMetrics
from firectl.server.usage.traffic import Reservation
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


def test_a_bucket_is_its_amount_by_its_length_and_an_empty_one_is_zero() -> None:
    rows = [
        UsageRow(deployment=name, model="m", start=start, length=10, generated_tokens=tokens, requests=1)
        for name, start, tokens in (("a", 100, 30), ("a", 110, 60), ("a", 220, 6), ("b", 100, 0), ("b", 300, 9))
    ]
    question = Question("tokens-per-second", "deployment", 100, 300, 60)
    assert series(question, rows) == [("a", [(100, 1.5), (160, 0.0), (220, 0.1), (280, 0.0)])]
    by_model = Question("requests-per-second", "model", 100, 400, 300)
    assert series(by_model, rows) == [("m", [(100, 5 / 300)])]


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
    assert said.message == "query parameter groupBy: 'region' is none of deployment, model"
    assert api.call("GET", "/v1/accounts/other/deploymentMetrics?metric=tokens-per-second").status_code == 404


def test_prometheus_reads_the_page_whatever_the_labels_say() -> None:
    metrics = TrafficMetrics()
    odd = 'accounts/a/deployments/d"\\\n'

    class Told(Reservation):
        def __init__(self) -> None:
            self.deployment, self.model, self.started, self.first, self.took = odd, "m", 1.0, 1.25, 2.0
            self.prompt_tokens, self.generated_tokens = 7, 5

    metrics.answered(Told(), 200)
    metrics.request("accounts/b/deployments/other", "m", 503)
    page = metrics.page("accounts/a", [ReplicaCounts(odd, 2, {"ready": 1, "starting": 1})]).decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert found["firectl_requests_total", odd, "m", "200"] == 1
    assert found["firectl_generated_tokens_total", odd, "m"] == 5
    assert found["firectl_time_to_first_token_seconds_sum", odd, "m"] == 0.25
    assert found["firectl_desired_replicas", odd] == 2
    assert found["firectl_replicas", odd, "ready"] == 1
    assert "accounts/b" not in page
    metrics.forget(set())
    assert odd.split('"')[0] not in metrics.page("accounts/a", []).decode()


def test_the_page_of_an_account_is_prometheus_text_and_not_for_strangers(api: Api, base: str) -> None:
    name = f"{api.account}/deployments/{api.parked(base)}"
    answer = api.call("GET", "metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert f'firectl_desired_replicas{{deployment="{name}"}} 0.0' in answer.text
    assert api.call("GET", "/v1/accounts/other/metrics").status_code == 404
