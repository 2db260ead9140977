"""How detailed is the stored history of the traffic, and how is a time series computed from it?

Pure, except for `tidy`, which works in the caller's transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from firectl.schemas.words import Metric
from firectl.server.store import Tx
from firectl.server.store.rows import UsageRow

FINEST = 10
"""How many seconds of traffic a new row covers: the shortest interval of the history."""
_COARSER = ((FINEST, 300, timedelta(days=1)), (300, 3600, timedelta(days=30)))
"""(seconds of a row, seconds of the row it is merged into, age at which it is merged).

Of each of these lengths, about 9,000 rows per deployment and model remain if traffic never stops.
"""
_FORGOTTEN = timedelta(days=730)

METRICS: Mapping[str, Callable[[UsageRow], int]] = {
    Metric.REQUESTS: lambda row: row.requests,
    Metric.ERRORS: lambda row: row.errors,
    Metric.TOKENS: lambda row: row.generated_tokens,
    Metric.PROMPT_TOKENS: lambda row: row.prompt_tokens,
}
"""Metric → function that returns its amount in a row."""
GROUPS: Mapping[str, Callable[[UsageRow], str]] = {
    "deployment": lambda row: row.deployment,
    "model": lambda row: row.model,
}


@dataclass(frozen=True)
class Question:
    """The time series to compute. `start` and `end` are Unix seconds. All three numbers are multiples of FINEST."""

    metric: str
    group_by: str
    start: int
    end: int
    interval: int


def begin(at: datetime, length: int) -> int:
    """Return the Unix second at which the interval of `length` seconds that contains `at` begins."""
    second = int(at.timestamp())
    return second - second % length


def series(question: Question, rows: Iterable[UsageRow]) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return each group with the (begin, amount per second) of every interval. Groups without traffic are omitted."""
    amount, group = METRICS[question.metric], GROUPS[question.group_by]
    sums: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        if question.start <= row.start < question.end:
            # A row longer than an interval counts in the interval where it begins.
            sums[group(row)][(row.start - question.start) // question.interval] += amount(row)
    buckets = range(-(-(question.end - question.start) // question.interval))
    return [
        (name, [(question.start + n * question.interval, found[n] / question.interval) for n in buckets])
        for name, found in sorted(sums.items())
        if any(found.values())
    ]


def tidy(tx: Tx, now: datetime) -> None:
    """Merge old rows into longer ones and drop very old ones, so that the history stays bounded."""
    for length, into, age in _COARSER:
        tx.usage.roll_up(length, into, begin(now - age, into))
    tx.usage.drop(begin(now - _FORGOTTEN, FINEST))
