"""What the samples come to: rates, percentiles, errors by kind. Pure.

Rates are whole answers over the time of their rounds, from the first request sent to the last answer complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from firectl.bench.generator import Round
from firectl.bench.samples import Sample

PERCENTILES = (50, 90, 95, 99)
LATE = 0.05
LATE_SHARE = 0.1
"""Seconds, and of the median answer's: requests of a rate that are sent later than both of these are sent too late."""


@dataclass(frozen=True)
class Spread:
    """Seconds. `count` is how many numbers there were; percentiles are of these, none thrown away."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    def to_document(self) -> dict[str, float]:
        return {name: _rounded(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Figures:
    """All of some requests. Latencies and tokens are those of whole answers; None where there is none to measure."""

    requests: int
    succeeded: int
    errors: tuple[tuple[str, int], ...]
    seconds: float
    prompt_tokens: int
    generated_tokens: int
    without_usage: int
    """Whole answers that did not say how many tokens they have: these are in no figure of tokens."""
    time_to_first_token: Spread | None
    inter_token_latency: Spread | None
    end_to_end_latency: Spread | None
    send_lag: Spread | None
    """Of a rate: how much later than due requests were sent, by this program's own slowness."""

    @property
    def sent_late(self) -> bool:
        """Whether these are figures of this program's slowness as well as of the server's: its requests were late."""
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
        document: dict[str, Any] = {
            "requests": self.requests,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "errors": dict(self.errors),
            "seconds": _rounded(self.seconds),
            "qps": _rounded(self.qps),
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": self.generated_tokens,
            "prompt_tokens_per_second": _rounded(self.prompt_tokens_per_second),
            "generated_tokens_per_second": _rounded(self.generated_tokens_per_second),
            "without_usage": self.without_usage,
        }
        for name in ("time_to_first_token", "inter_token_latency", "end_to_end_latency", "send_lag"):
            spread: Spread | None = getattr(self, name)
            if spread is not None:
                document[name] = spread.to_document()
        return document


def figures_of(rounds: Sequence[Round], *, route: str | None = None, has_rate: bool = False) -> Figures:
    """The figures of these rounds; with `route`, of its requests alone, over the same time."""
    samples = [sample for round_ in rounds for sample in round_.samples if route in (None, sample.route)]
    whole = [sample for sample in samples if sample.error is None]
    pauses = [pause for sample in whole for pause in sample.inter_token_latencies()]
    counted = [sample for sample in whole if sample.generated_tokens is not None]
    sent = [sample for sample in samples if sample.error != "not_sent"]
    return Figures(
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
    """For each kind of error, what the first of its kind said."""
    found: dict[str, str] = {}
    for sample in samples:
        if sample.error is not None:
            found.setdefault(sample.error, sample.message)
    return found


def spread(numbers: Iterable[float]) -> Spread | None:
    """None of none."""
    ordered = sorted(numbers)
    if not ordered:
        return None
    p50, p90, p95, p99 = (percentile(ordered, percent) for percent in PERCENTILES)
    return Spread(len(ordered), sum(ordered) / len(ordered), p50, p90, p95, p99, ordered[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of numbers in rising order, interpolated between the two nearest: numpy's default, type 7 of
    Hyndman and Fan."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0


def _rounded(number: float) -> float:
    """To the microsecond, or six decimals of whatever it is."""
    return round(number, 6)
