"""The Prometheus page of an account."""

from __future__ import annotations

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from firectl.server.usage.metrics import ReplicaCounts, TrafficMetrics
from firectl.server.usage.traffic import Reservation, TrafficCount


def test_prometheus_reads_the_page_with_any_labels() -> None:
    metrics = TrafficMetrics()
    odd = 'accounts/a/deployments/d"\\\n'

    reservation = Reservation(TrafficCount(), odd, "m", metrics.answered)
    reservation.started, reservation.first = time.monotonic() - 2.0, time.monotonic() - 1.75
    reservation.usage({"prompt_tokens": 7, "completion_tokens": 5})
    reservation.end(200)
    metrics.request("accounts/b/deployments/other", "m", 503)
    page = metrics.page("accounts/a", [ReplicaCounts(odd, 2, {"ready": 1, "starting": 1})]).decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert found["firectl_requests_total", odd, "m", "200"] == 1
    assert found["firectl_generated_tokens_total", odd, "m"] == 5
    assert found["firectl_time_to_first_token_seconds_sum", odd, "m"] == pytest.approx(0.25, abs=0.05)
    assert found["firectl_desired_replicas", odd] == 2
    assert found["firectl_replicas", odd, "ready"] == 1
    assert "accounts/b" not in page
    metrics.forget(set())
    assert odd.split('"')[0] not in metrics.page("accounts/a", []).decode()
