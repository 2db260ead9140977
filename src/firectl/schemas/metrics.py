"""Numbers over time, one series for each deployment or model: a call of the local platform alone."""

from __future__ import annotations

from firectl.schemas.base import Wire


class Point(Wire):
    """`timestamp` in Unix seconds; `value` a number as text."""

    timestamp: int | None = None
    value: str | None = None


class Series(Wire):
    """`labels` say what it is of: `{"deployment": "accounts/…"}`."""

    labels: dict[str, str] | None = None
    values: list[Point] | None = None


class DeploymentMetrics(Wire):
    series: list[Series] = []
