"""`firectl deployment-metrics`: what deployments did over time."""

from __future__ import annotations

from datetime import timedelta

import click

from firectl.cli.app import App, pass_app
from firectl.cli.grammar.params import option
from firectl.cli.grammar.syntax import DOCUMENT, NounGroup
from firectl.cli.grammar.types import Moment, Seconds
from firectl.schemas.words import METRICS

deployment_metrics = NounGroup("deployment-metrics", "Deployment metrics: tokens and requests over time.")


@deployment_metrics.verb("list", formats=DOCUMENT)
@option(
    "--metric",
    required=True,
    metavar="NAME",
    help=f"{', '.join(METRICS)}.",
)
@option(
    "--group-by", type=click.Choice(["deployment", "model"]), help="One series for each; default: for each deployment."
)
@option(
    "--start",
    type=Moment(),
    metavar="DATE",
    help="From when: 2026-01-31, or 2026-01-31T12:00:00Z; default: the last interval.",
)
@option("--end", type=Moment(ends=True), metavar="DATE", help="Until when, a day to its end; default: now.")
@option("--interval", type=Seconds(), metavar="DURATION", help="The time that one value stands for (24h).")
@pass_app
def list_(
    app: App, metric: str, group_by: str | None, start: str | None, end: str | None, interval: float | None
) -> None:
    """List the values of a metric over time. The platform of firectl local has them; hosted, see its console.

    $ firectl deployment-metrics list --metric tokens-per-second --group-by model --interval 24h
    """
    from firectl.cli.settings import metrics

    metrics.require_known(metric)
    span = metrics.span(start, end)
    every = timedelta(seconds=interval) if interval else None
    found = metrics.fetch(app, metric, group_by, span, every)
    app.emit(found, metrics.TABLE)
    if not found.series:
        metrics.note_nothing(app, metric, span)
