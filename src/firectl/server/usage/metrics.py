"""The Prometheus page of an account: traffic since the platform started, and the replicas that it has now.

Must not read rows or processes: the caller passes the replica counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from firectl.server.usage.traffic import Reservation

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LABELS = ("deployment", "model")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


@dataclass(frozen=True)
class ReplicaCounts:
    """The replicas of a deployment: how many are desired, and how many are in each stage."""

    deployment: str
    desired: int
    stages: Mapping[str, int]


class TrafficMetrics:
    """Keeps the counters and histograms of every account and writes them as Prometheus pages."""

    def __init__(self) -> None:
        self._accounts: defaultdict[str, _AccountMetrics] = defaultdict(_AccountMetrics)

    def request(self, deployment: str, model: str, status: int) -> None:
        """Count a request that ended with this HTTP status."""
        self._accounts[_account(deployment)].request(deployment, model, status)

    def answered(self, reservation: Reservation, status: int) -> None:
        """Count an admitted request that ended with this HTTP status, with its tokens and times."""
        self._accounts[_account(reservation.deployment)].answered(reservation, status)

    def forget(self, keep: set[str]) -> None:
        """Drop the metrics of deployments that are not in `keep`."""
        for account in self._accounts.values():
            account.forget(keep)

    def page(self, account: str, replicas: Iterable[ReplicaCounts]) -> bytes:
        """Return the metrics of an account, with its `replicas`, in Prometheus' text format."""
        gauges = CollectorRegistry()
        desired = Gauge("firectl_desired_replicas", "Replicas wanted.", ("deployment",), registry=gauges)
        by_stage = Gauge("firectl_replicas", "Replicas by stage.", ("deployment", "state"), registry=gauges)
        for found in replicas:
            desired.labels(found.deployment).set(found.desired)
            for stage, count in found.stages.items():
                by_stage.labels(found.deployment, stage).set(count)
        return generate_latest(self._accounts[account].registry) + generate_latest(gauges)


def _account(deployment: str) -> str:
    return "/".join(deployment.split("/", 2)[:2])


class _Series(Protocol):
    def remove(self, *labelvalues: object) -> None: ...


class _AccountMetrics:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "firectl_requests", "Requests that came to an end.", (*_LABELS, "status"), registry=registry
        )
        self._prompt = Counter("firectl_prompt_tokens", "Tokens of prompts.", _LABELS, registry=registry)
        self._generated = Counter("firectl_generated_tokens", "Tokens generated.", _LABELS, registry=registry)
        self._first = Histogram(
            "firectl_time_to_first_token_seconds",
            "From a request's arrival to the first event of its stream.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self._latency = Histogram(
            "firectl_request_duration_seconds",
            "From a request's arrival to the end of its answer, of those answered with 200.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self._known: set[tuple[_Series, tuple[str, ...]]] = set()

    def request(self, deployment: str, model: str, status: int) -> None:
        labels = (deployment, model, str(status))
        self._requests.labels(*labels).inc()
        self._known.add((self._requests, labels))

    def answered(self, reservation: Reservation, status: int) -> None:
        labels = (reservation.deployment, reservation.model)
        self.request(*labels, status)
        self._prompt.labels(*labels).inc(reservation.prompt_tokens)
        self._generated.labels(*labels).inc(reservation.generated_tokens)
        self._known |= {(self._prompt, labels), (self._generated, labels)}
        if reservation.first is not None:
            self._first.labels(*labels).observe(reservation.first - reservation.started)
            self._known.add((self._first, labels))
        if status == 200:
            self._latency.labels(*labels).observe(reservation.took)
            self._known.add((self._latency, labels))

    def forget(self, keep: set[str]) -> None:
        for series, labels in [known for known in self._known if known[1][0] not in keep]:
            series.remove(*labels)
            self._known.discard((series, labels))
