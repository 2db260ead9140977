"""What are the rates, percentiles and errors of the samples? Pure.

Rates are whole answers divided by the time of their rounds, from the first request to the end of the last answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from firectl.bench.generator import LoadRound
from firectl.bench.samples import Sample

LATE = 0.05
LATE_SHARE = 0.1
"""LATE is in seconds, LATE_SHARE a share of the median latency.

Requests are sent late if their p99 lag exceeds both.
"""


@dataclass(frozen=True)
class Spread:
    """Mean, percentiles and maximum of `count` durations. All in seconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    def to_document(self) -> dict[str, float]:
        return {name: _rounded(getattr(self, name)) for name in self.__dataclass_fields__}


_DOCUMENTED = (
    "requests", "succeeded", "failed", "errors", "seconds", "qps", "prompt_tokens", "generated_tokens",
    "prompt_tokens_per_second", "generated_tokens_per_second", "without_usage",
)  # fmt: skip


@dataclass(frozen=True)
class LoadFigures:
    """Counts, rates and latencies of requests.

    Latencies and tokens count whole answers only; a latency without any is None.
    """

    requests: int
    succeeded: int
    errors: tuple[tuple[str, int], ...]
    seconds: float
    prompt_tokens: int
    generated_tokens: int
    without_usage: int
    """Number of whole answers without a token count. The token figures leave them out."""
    time_to_first_token: Spread | None
    inter_token_latency: Spread | None
    end_to_end_latency: Spread | None
    send_lag: Spread | None
    """Only with a rate: how much later than planned this program sent its requests."""

    @property
    def sent_late(self) -> bool:
        """Whether this program was too slow for the rate. If so, the figures do not describe only the server."""
        lag, whole = self.send_lag, self.end_to_end_latency
        return lag is not None and lag.p99 > max(LATE, LATE_SHARE * whole.p50 if whole is not None else 0.0)

    @property
    def failed(self) -> int:
        return self.requests - self.succeeded

    @property
    def qps(self) -> float:
        return _per(self.succeeded, self.seconds)

    @property
    def prompt_tokens_per_second(self) -> float:
        return _per(self.prompt_tokens, self.seconds)

    @property
    def generated_tokens_per_second(self) -> float:
        return _per(self.generated_tokens, self.seconds)

    def to_document(self) -> dict[str, Any]:
        document: dict[str, Any] = {name: getattr(self, name) for name in _DOCUMENTED}
        document["errors"] = dict(self.errors)
        document = {name: _rounded(value) if isinstance(value, float) else value for name, value in document.items()}
        for name in ("time_to_first_token", "inter_token_latency", "end_to_end_latency", "send_lag"):
            spread: Spread | None = getattr(self, name)
            if spread is not None:
                document[name] = spread.to_document()
        return document


def figures_of(rounds: Sequence[LoadRound], *, route: str | None = None, has_rate: bool = False) -> LoadFigures:
    """Compute the figures of these rounds. With `route`, count only its requests, over the whole time of the rounds."""
    samples = [sample for round_ in rounds for sample in round_.samples if route in (None, sample.route)]
    whole = [sample for sample in samples if sample.error is None]
    pauses = [pause for sample in whole for pause in sample.inter_token_latencies()]
    counted = [sample for sample in whole if sample.generated_tokens is not None]
    sent = [sample for sample in samples if sample.error != "not_sent"]
    return LoadFigures(
        requests=len(samples),
        succeeded=len(whole),
        errors=tuple(Counter(sample.error for sample in samples if sample.error is not None).most_common()),
        seconds=sum(round_.seconds for round_ in rounds),
        prompt_tokens=sum(sample.prompt_tokens or 0 for sample in counted),
        generated_tokens=sum(sample.generated_tokens or 0 for sample in counted),
        without_usage=len(whole) - len(counted),
        time_to_first_token=spread(first for s in whole if (first := s.time_to_first_token) is not None),
        inter_token_latency=spread(pauses),
        end_to_end_latency=spread(sample.done - sample.sent for sample in whole),
        send_lag=spread(max(0.0, sample.sent - sample.due) for sample in sent) if has_rate else None,
    )


def examples(samples: Iterable[Sample]) -> dict[str, str]:
    """Return the first message of each kind of error: kind → message."""
    found: dict[str, str] = {}
    for sample in samples:
        if sample.error is not None:
            found.setdefault(sample.error, sample.message)
    return found


def spread(numbers: Iterable[float]) -> Spread | None:
    """Summarise numbers; None if there are none.

    Percentiles are interpolated linearly, as numpy does (type 7 of Hyndman and Fan).
    """
    ordered = sorted(numbers)
    if not ordered:
        return None
    # `quantiles` needs two numbers. Every percentile of a single number is that number.
    cuts = quantiles(ordered if len(ordered) > 1 else ordered * 2, n=100, method="inclusive")
    p50, p90, p95, p99 = (cuts[percent - 1] for percent in (50, 90, 95, 99))
    return Spread(len(ordered), sum(ordered) / len(ordered), p50, p90, p95, p99, ordered[-1])


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0


def _rounded(number: float) -> float:
    return round(number, 6)
