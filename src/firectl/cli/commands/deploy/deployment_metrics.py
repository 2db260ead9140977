"""`firectl deployment-metrics`: tokens and requests over time."""

from __future__ import annotations

from datetime import timedelta

import click

from firectl.cli.app import App
from firectl.cli.deployment import metrics
from firectl.cli.grammar.params import option
from firectl.cli.grammar.syntax import DOCUMENT, NounGroup
from firectl.cli.grammar.types import Moment, Seconds
from firectl.schemas.words import METRICS

deployment_metrics = NounGroup("deployment-metrics", "Deployment metrics: tokens and requests over time.")


@deployment_metrics.verb("list", formats=DOCUMENT)
@option("--metric", required=True, metavar="NAME", help=f"{', '.join(METRICS)}.")
@option(
    "--group-by", type=click.Choice(["deployment", "model"]), help="One series for each; default: for each deployment."
)
@option("--start", type=Moment(), help="The start: 2026-01-31 or 2026-01-31T12:00:00Z; default: one interval ago.")
@option("--end", type=Moment(ends=True), help="The end; a date without a time includes that day; default: now.")
@option("--interval", type=Seconds(), help="The length of time that one value covers (24h).")
def list_(
    app: App, metric: str, group_by: str | None, start: str | None, end: str | None, interval: float | None
) -> None:
    """List the values of a metric over time. Local platform only; the hosted service shows them in its console.

    $ firectl deployment-metrics list --metric tokens-per-second --group-by model --interval 24h
    """
    metrics.require_known(metric)
    span = metrics.span(start, end)
    every = timedelta(seconds=interval) if interval else None
    found = metrics.fetch(app, metric, group_by, span, every)
    app.emit(found, metrics.TABLE)
    if not found.series:
        metrics.note_nothing(app, metric, span)
