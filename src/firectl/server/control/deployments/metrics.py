"""What are the metrics of an account's deployments? A page for Prometheus, and time series from the stored history."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from firectl.errors import ApiError, invalid
from firectl.schemas.words import DeploymentState
from firectl.server.platform import Platform
from firectl.server.usage import history
from firectl.server.usage.metrics import ReplicaCounts

_DAY = 86400
_MOST_BUCKETS = 10_000
_LONGEST = 3650 * _DAY
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s)", re.ASCII)


def page(platform: Platform, account: str) -> bytes:
    """Return the page that Prometheus scrapes: counts and times since the platform started, and current replicas."""
    with platform.store.read() as tx:
        rows = [row for row in tx.deployments.of_account(account) if row.state != DeploymentState.DELETED]
    running = []
    for row in rows:
        stats = platform.supervisor.replica_stats(row.name, row.desired_replicas)
        stages = {
            "pending": stats.pending_scheduling_replica_count or 0,
            "starting": stats.initializing_replica_count or 0,
            "ready": stats.ready_replica_count or 0,
        }
        running.append(ReplicaCounts(row.name, row.desired_replicas, stages))
    return platform.supervisor.traffic.metrics.page(account, running)


def deployment_metrics(
    platform: Platform, account: str, *, metric: str, group_by: str, start: str, end: str, interval: str
) -> dict[str, object]:
    """Return `{"series": [{"labels": {group: name}, "values": [{"timestamp", "value"}]}]}`, see `question`."""
    asked = question(metric, group_by, start, end, interval, platform.clock())
    with platform.store.read() as tx:
        rows = tx.usage.between(f"{account}/deployments/", asked.start, asked.end)
    return {
        "series": [
            {
                "labels": {asked.group_by: name},
                "values": [{"timestamp": at, "value": _number(value)} for at, value in values],
            }
            for name, values in history.series(asked, rows)
        ]
    }


def question(metric: str, group_by: str, start: str, end: str, interval: str, now: datetime) -> history.Question:
    """Parse the query parameters of a request; INVALID_ARGUMENT names the parameter that is wrong.

    `start` and `end` are dates (the day of `end` is included) or RFC 3339 times; `interval` is `86400s` or Go's `24h`.
    Defaults: `end` is now, `interval` is one day, `start` is one interval before the end. A later `end` means now.
    """
    _one_of("metric", metric, history.METRICS)
    group_by = group_by or "deployment"
    _one_of("groupBy", group_by, history.GROUPS)
    seconds = _seconds(interval) if interval else _DAY
    last = min(_time("end", end, of_a_day=True), now) if end else now
    # End after the stored row that contains `last`, so that requests of the current second count.
    stop = history.begin(last, history.FINEST) + (0 if end and last < now else history.FINEST)
    first = _time("start", start) if start else datetime.fromtimestamp(stop - seconds, UTC)
    begin = history.begin(first, history.FINEST)
    stop = max(begin, stop)
    if end and first > _time("end", end, of_a_day=True):
        raise _wrong("end", f"{end} is before start, {start}")
    if stop - begin > _MOST_BUCKETS * seconds:
        raise _wrong("interval", f"{interval or '24h'} makes more than {_MOST_BUCKETS} values between start and end")
    return history.Question(metric, group_by, begin, stop, seconds)


def _one_of(field: str, given: str, known: Mapping[str, object]) -> None:
    if given not in known:
        wanted = ", ".join(known)
        raise _wrong(
            field, f"expected one of {wanted}, got {given[:60]!a}" if given else f"is missing: one of {wanted}"
        )


def _time(field: str, text: str, *, of_a_day: bool = False) -> datetime:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return day + timedelta(days=1 if of_a_day else 0)
        # An unescaped plus sign in a URL arrives as a space.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else "")
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        found.timestamp()
    except (ValueError, OverflowError):
        raise _wrong(field, f"{text[:60]!a} is neither a date (2026-01-31) nor RFC 3339") from None
    return found


def _seconds(text: str) -> int:
    parts = list(_PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise _wrong("interval", f"{text[:60]!a} is not a duration such as 3600s or 24h")
    seconds = sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)
    if not history.FINEST <= seconds <= _LONGEST or seconds % history.FINEST:
        raise _wrong("interval", f"{text[:60]} must be a multiple of {history.FINEST}s, at most ten years")
    return int(seconds)


def _number(value: float) -> str:
    """Format a decimal number without exponent or trailing zeros: `0`, `0.5`, `0.000011574074`."""
    return f"{value:.12f}".rstrip("0").rstrip(".") if value else "0"


def _wrong(field: str, message: str) -> ApiError:
    return invalid(f"query parameter {field}: {message}")
