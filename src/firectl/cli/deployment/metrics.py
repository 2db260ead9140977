"""Fetch deployment metrics: check the arguments, fetch the series, and show them as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.output.output import View
from firectl.cli.output.render import table
from firectl.errors import ApiError, Code, InputError
from firectl.schemas.words import METRICS

if TYPE_CHECKING:
    from firectl.schemas.metrics import DeploymentMetrics

Span = tuple[datetime | None, datetime | None]


def require_known(metric: str) -> None:
    """Raise InputError for an unknown metric, with a similar metric as the hint."""
    if metric in METRICS:
        return
    from difflib import get_close_matches

    near = get_close_matches(metric.lower().replace("_", "-"), METRICS, n=1)
    hint = f"did you mean {near[0]}?" if near else None
    raise InputError(f"--metric {metric!r} is not one of {', '.join(METRICS)}", hint=hint)


def span(start: str | None, end: str | None) -> Span:
    """Return start and end as datetimes. InputError if the end is not after the start."""
    first, last = (datetime.fromisoformat(text) if text else None for text in (start, end))
    if first is not None and last is not None and last <= first:
        raise InputError("--end must be after --start")
    return first, last


def note_nothing(app: App, metric: str, asked: Span) -> None:
    """Note on stderr why the result is empty."""
    start, _ = asked
    if start is None:
        app.output.note(f"There were no {metric} in the last interval; --start DATE looks further back")
    elif start > datetime.now(UTC):
        app.output.note(f"--start {start.isoformat().replace('+00:00', 'Z')} is in the future: there is nothing yet")
    else:
        app.output.note(f"There were no {metric} in that time")


def fetch(app: App, metric: str, group_by: str | None, span: Span, interval: timedelta | None) -> DeploymentMetrics:
    """Return the metrics. ApiError (UNIMPLEMENTED) on the hosted service, whose public API has no metrics."""
    if app.is_hosted:
        raise ApiError(
            Code.UNIMPLEMENTED,
            "the hosted service has no public call for deployment metrics; a platform of firectl local has",
            hint="see the service's web console, or scrape https://api.fireworks.ai/v1/accounts/ACCOUNT_ID/metrics",
        )
    start, end = span
    return app.client.metrics.deployments(metric, group_by=group_by, start=start, end=end, interval=interval)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (" ".join((series.get("labels") or {}).values()), _time(point.get("timestamp")), point.get("value"))
        for series in document["series"]
        for point in series.get("values") or []
    ]
    yield from table(("SERIES", "TIME", "VALUE"), rows)


def _time(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


TABLE = View(text=_lines)
