"""Collect the engine's metrics in Prometheus' text format. Names are vLLM's if vLLM has them, else `firectl:`.

Must not decide anything: the code where an event happens counts it here. Gauges are registered with `watch`,
in engine.py and adapters/registry.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

# Without this, every metric has a second line with the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]

_FIRST_TOKEN = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5)
_WHOLE = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)


class EngineMetrics:
    """The metrics of one engine. Counting is safe from any thread."""

    def __init__(self, model: str) -> None:
        self._registry = CollectorRegistry()
        self._model = model
        counter, histogram = self._counter, self._histogram
        self.prompt_tokens = counter("vllm:prompt_tokens", "Prompt tokens computed (again after a preemption).")
        self.generation_tokens = counter("vllm:generation_tokens", "Tokens generated.")
        self.preemptions = counter("vllm:num_preemptions", "Sequences sent back to the queue for memory.")
        self.prefix_queries = counter("vllm:prefix_cache_queries", "Prompt tokens looked up for reuse.")
        self.prefix_hits = counter("vllm:prefix_cache_hits", "Prompt tokens whose keys and values were reused.")
        first, between = "From a request's arrival to its first token.", "From one token of a sequence to its next."
        whole = "From a sequence's arrival to its last token."
        self.first_token = histogram("vllm:time_to_first_token_seconds", first, _FIRST_TOKEN)
        self.between_tokens = histogram("vllm:inter_token_latency_seconds", between, _BETWEEN_TOKENS)
        self.whole = histogram("vllm:e2e_request_latency_seconds", whole, _WHOLE)
        self.loads = counter("firectl:adapter_loads", "Adapters loaded.")
        self.reads = counter("firectl:adapter_reads", "Adapters read again after their eviction from memory.")
        self.evictions = counter("firectl:adapter_evictions", "Adapters evicted from memory.")
        self.refused = counter("firectl:requests_refused", "Requests answered 429: the queue was full.")
        self.timeouts = counter("firectl:requests_timed_out", "Requests ended at their deadline.")
        self._requests = Counter(
            "firectl:requests",
            "Requests admitted, by the adapter (or base) that was asked for.",
            ["adapter"],
            registry=self._registry,
        )

    def request(self, adapter: str) -> None:
        self._requests.labels(adapter).inc()

    def forget(self, adapter: str) -> None:
        """Drop the series of an unloaded adapter, so that the page does not grow with every name."""
        with suppress(KeyError):  # no request named it
            self._requests.remove(adapter)

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read when the page is requested."""
        Gauge(name, meaning, ["model_name"], registry=self._registry).labels(self._model).set_function(read)

    def page(self) -> bytes:
        """Return the body of the /metrics page."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, ["model_name"], registry=self._registry).labels(self._model)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, ["model_name"], buckets=buckets, registry=self._registry).labels(self._model)
