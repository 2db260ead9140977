"""The deployments' figures for Prometheus: what the front answered, and at a scrape what runs.

One page an account. Must not know rows or processes: gauges come with the scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from firectl.server.usage.activity import Ticket

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LABELS = ("deployment", "model")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Figures:
    """What was answered since the platform started."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def request(self, deployment: str, model: str, status: int) -> None:
        """A request was answered with this HTTP status."""
        self._of(deployment).request(deployment, model, status)

    def answered(self, ticket: Ticket, status: int) -> None:
        """A request that was let in came to its end."""
        self._of(ticket.deployment).answered(ticket, status)

    def forget(self, keep: set[str]) -> None:
        """Drop the series of deployments that are gone."""
        for account in self._accounts.values():
            account.forget(keep)

    def page(self, account: str, running: Iterable[Running]) -> bytes:
        """The page of an account in Prometheus' text form."""
        registry = self._accounts.setdefault(account, _Account()).registry
        gauges = CollectorRegistry()
        gauges.register(_Gauges(running))
        return generate_latest(registry) + generate_latest(gauges)

    def _of(self, deployment: str) -> _Account:
        account = "/".join(deployment.split("/", 2)[:2])
        found = self._accounts.get(account)
        if found is None:
            found = self._accounts[account] = _Account()
        return found


@dataclass(frozen=True)
class Running:
    """What runs of a deployment: the replicas wanted, and how many are in each stage."""

    deployment: str
    desired: int
    stages: Mapping[str, int]


class _Series(Protocol):
    def remove(self, *labelvalues: object) -> None: ...


class _Account:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "firectl_requests", "Requests that came to an end.", (*_LABELS, "status"), registry=self.registry
        )
        self._prompt = Counter("firectl_prompt_tokens", "Tokens of prompts.", _LABELS, registry=self.registry)
        self._generated = Counter("firectl_generated_tokens", "Tokens generated.", _LABELS, registry=self.registry)
        self._first = Histogram(
            "firectl_time_to_first_token_seconds",
            "From a request's arrival to the first event of its stream.",
            _LABELS,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._latency = Histogram(
            "firectl_request_duration_seconds",
            "From a request's arrival to the end of its answer, of those answered with 200.",
            _LABELS,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._known: set[tuple[_Series, tuple[str, ...]]] = set()

    def request(self, deployment: str, model: str, status: int) -> None:
        labels = (deployment, model, str(status))
        self._requests.labels(*labels).inc()
        self._known.add((self._requests, labels))

    def answered(self, ticket: Ticket, status: int) -> None:
        labels = (ticket.deployment, ticket.model)
        self.request(*labels, status)
        self._prompt.labels(*labels).inc(ticket.prompt_tokens)
        self._generated.labels(*labels).inc(ticket.generated_tokens)
        self._known |= {(self._prompt, labels), (self._generated, labels)}
        if ticket.first is not None:
            self._first.labels(*labels).observe(ticket.first - ticket.started)
            self._known.add((self._first, labels))
        if status == 200:
            self._latency.labels(*labels).observe(ticket.took)
            self._known.add((self._latency, labels))

    def forget(self, keep: set[str]) -> None:
        for series, labels in [known for known in self._known if known[1][0] not in keep]:
            series.remove(*labels)
            self._known.discard((series, labels))


class _Gauges:
    def __init__(self, running: Iterable[Running]) -> None:
        self._running = list(running)

    def collect(self) -> Iterator[Metric]:
        desired = GaugeMetricFamily("firectl_desired_replicas", "Replicas wanted.", labels=("deployment",))
        replicas = GaugeMetricFamily("firectl_replicas", "Replicas by stage.", labels=("deployment", "state"))
        for found in self._running:
            desired.add_metric((found.deployment,), found.desired)
            for stage, count in found.stages.items():
                replicas.add_metric((found.deployment, stage), count)
        yield desired
        yield replicas
