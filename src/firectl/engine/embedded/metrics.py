"""The engine's figures in Prometheus' text form, under the names that vLLM gives them.

Must not compute anything: counters are kept by whoever knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(slots=True)
class Counters:
    """What only ever grows."""

    prompt_tokens: int = 0
    """Tokens of prompts that were computed (again, after a preemption)."""
    generation_tokens: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    """By the name that was asked for: the base's or an adapter's."""


def render(counters: Counters, model: str, *, running: int, waiting: int, kv_use: float) -> str:
    """The page that /metrics answers."""
    label = f'{{model_name="{_escape(model)}"}}'
    lines = [
        *_metric("vllm:num_requests_running", "gauge", "Sequences in the current steps.", [(label, running)]),
        *_metric("vllm:num_requests_waiting", "gauge", "Sequences that wait for a slot.", [(label, waiting)]),
        *_metric("vllm:kv_cache_usage_perc", "gauge", "Share of the KV memory taken, 0 to 1.", [(label, kv_use)]),
        *_metric("vllm:prompt_tokens_total", "counter", "Prompt tokens computed.", [(label, counters.prompt_tokens)]),
        *_metric("vllm:generation_tokens_total", "counter", "Tokens generated.", [(label, counters.generation_tokens)]),
        *_metric(
            "firectl:requests_total",
            "counter",
            "Requests admitted, by the adapter (or base) that was asked for.",
            [(f'{{adapter="{_escape(name)}"}}', count) for name, count in sorted(counters.requests.items())],
        ),
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, meaning: str, values: Iterable[tuple[str, float]]) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *(f"{name}{label} {value}" for label, value in values)]


def _escape(value: str) -> str:
    return value.translate(_ESCAPES)
