"""Which fields do metrics have on the wire? Only the local platform offers metrics."""

from __future__ import annotations

from firectl.schemas.base import Wire


class Point(Wire):
    """One measured value. `timestamp` is in Unix seconds; `value` is a number as text."""

    timestamp: int | None = None
    value: str | None = None


class Series(Wire):
    """The values of one deployment or model over time. `labels` name it: `{"deployment": "accounts/…"}`."""

    labels: dict[str, str] | None = None
    values: list[Point] | None = None


class DeploymentMetrics(Wire):
    series: list[Series] = []
