"""Which fields do metrics have on the wire? Only the local platform has this call."""

from __future__ import annotations

from firectl.schemas.base import Wire


class Point(Wire):
    """`timestamp` in Unix seconds; `value` a number as text."""

    timestamp: int | None = None
    value: str | None = None


class Series(Wire):
    """`labels` name its deployment or model: `{"deployment": "accounts/…"}`."""

    labels: dict[str, str] | None = None
    values: list[Point] | None = None


class DeploymentMetrics(Wire):
    series: list[Series] = []
