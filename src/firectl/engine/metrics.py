"""The engine's figures in Prometheus' text form, under the names that vLLM gives them; `firectl:` where it has none.

Must not decide anything: whoever knows a figure counts it here.
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

# Else each figure has a second line that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_FIRST_TOKEN = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5)
_WHOLE = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)


class Metrics:
    """One engine's figures; counting is safe from any thread."""

    def __init__(self, model: str) -> None:
        self._registry = CollectorRegistry()
        self._model = model
        self.prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens computed (again after a preemption).")
        self.generation_tokens = self._counter("vllm:generation_tokens", "Tokens generated.")
        self.preemptions = self._counter("vllm:num_preemptions", "Sequences sent back to the queue for memory.")
        self.prefix_queries = self._counter("vllm:prefix_cache_queries", "Prompt tokens looked up for reuse.")
        self.prefix_hits = self._counter("vllm:prefix_cache_hits", "Prompt tokens whose keys and values were reused.")
        self.first_token = self._histogram(
            "vllm:time_to_first_token_seconds", "From a request's arrival to its first token.", _FIRST_TOKEN
        )
        self.between_tokens = self._histogram(
            "vllm:inter_token_latency_seconds", "From one token of a sequence to its next.", _BETWEEN_TOKENS
        )
        self.whole = self._histogram(
            "vllm:e2e_request_latency_seconds", "From a sequence's arrival to its last token.", _WHOLE
        )
        self.loads = self._counter("firectl:adapter_loads", "Adapters loaded.")
        self.reads = self._counter("firectl:adapter_reads", "Adapters read again after they were put out of memory.")
        self.evictions = self._counter("firectl:adapter_evictions", "Adapters put out of memory.")
        self.refused = self._counter("firectl:requests_refused", "Requests answered 429: the queue was full.")
        self.timeouts = self._counter("firectl:requests_timed_out", "Requests ended at their deadline.")
        self._requests = Counter(
            "firectl:requests",
            "Requests admitted, by the adapter (or base) that was asked for.",
            ["adapter"],
            registry=self._registry,
        )

    def request(self, adapter: str) -> None:
        self._requests.labels(adapter).inc()

    def forget(self, adapter: str) -> None:
        """The adapter is unloaded: without this the page would grow with every name there ever was."""
        with suppress(KeyError):  # nobody ever asked for it
            self._requests.remove(adapter)

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """A figure that goes up and down, asked for when the page is."""
        Gauge(name, meaning, ["model_name"], registry=self._registry).labels(self._model).set_function(read)

    def value(self, name: str) -> float:
        """A figure as the page has it, by its full name."""
        return self._registry.get_sample_value(name, {"model_name": self._model}) or 0.0

    def page(self) -> bytes:
        """What /metrics answers."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, ["model_name"], registry=self._registry).labels(self._model)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, ["model_name"], buckets=buckets, registry=self._registry).labels(self._model)
