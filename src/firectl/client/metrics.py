"""Metrics of deployments over time. Only the local platform has this call."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from firectl.client.resource import read
from firectl.schemas.base import format_time, format_wire_duration
from firectl.schemas.metrics import DeploymentMetrics

if TYPE_CHECKING:
    from firectl.client.api import Api


class Metrics:
    def __init__(self, client: Api) -> None:
        self._client = client

    def deployments(
        self,
        metric: str,
        *,
        group_by: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        interval: timedelta | None = None,
    ) -> DeploymentMetrics:
        """Return one series for each deployment or model (`group_by`), with a value for each interval."""
        path = f"/v1/accounts/{self._client.account}/deploymentMetrics"
        query = {
            "metric": metric,
            "groupBy": group_by,
            "start": format_time(start) if start else None,
            "end": format_time(end) if end else None,
            "interval": format_wire_duration(interval) if interval else None,
        }
        return read(DeploymentMetrics, self._client.request("GET", path, query=query), path)
