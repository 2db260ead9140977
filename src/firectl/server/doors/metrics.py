"""Metrics of deployments over HTTP: a page for Prometheus, and time series from the stored history."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from firectl.server.control.deployments import metrics
from firectl.server.doors.call import Call, route
from firectl.server.platform import Platform
from firectl.server.usage.metrics import CONTENT_TYPE

_ACCOUNT = "/v1/accounts/{account:id}"


def routes(platform: Platform) -> list[BaseRoute]:
    return [
        route(platform, f"{_ACCOUNT}/metrics", GET=_page),
        route(platform, f"{_ACCOUNT}/deploymentMetrics", GET=_series),
    ]


def _page(call: Call) -> Response:
    return Response(metrics.page(call.platform, call.account), headers={"content-type": CONTENT_TYPE})


def _series(call: Call) -> dict[str, Any]:
    return metrics.deployment_metrics(
        call.platform,
        call.account,
        metric=call.text("metric"),
        group_by=call.text("group_by"),
        start=call.text("start"),
        end=call.text("end"),
        interval=call.text("interval"),
    )
