"""`firectl bench`: send a load to routes and compare the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from firectl.cli.app import App
from firectl.cli.bench import compare as comparison
from firectl.cli.bench import flags, run
from firectl.cli.bench.flags import MOST_RATE, MOST_STREAMS, Allowance, LengthsType, Levels, MixType
from firectl.cli.grammar.params import option, switch, together
from firectl.cli.grammar.syntax import DOCUMENT, verb
from firectl.cli.grammar.types import Count, Seconds

_load = together(
    option("--concurrency", type=Levels(MOST_STREAMS, whole=True), metavar="N[,N…]",
           help="Concurrent streams; several numbers are measured in turn (1)."),
    option("--rate", type=Levels(MOST_RATE, whole=False), metavar="N[,N…]",
           help="Requests per second, sent without waiting for answers."),
    option("--arrival", type=click.Choice(("constant", "poisson")), help="How requests are spaced; default: constant."),
    option("--requests", type=Count(1), help="Requests to each route at each level."),
    option("--duration", type=Seconds(), help="The time for each route at each level (10s)."),
    option("--rounds", type=Count(1), help="How often routes take turns (3; a single route: 1)."),
    option("--warmup", type=Count(), help="Requests before the measurement (one per stream)."),
    option("--mix", type=MixType(), default="each",
           help="each: every route by itself. One load over all: round-robin, uniform, zipf, zipf:EXPONENT (each)."),
    option("--seed", type=Count(), help="Same seed, same plan; default: a new one each time."),
)  # fmt: skip

_requests = together(
    option("--prompt-characters", type=LengthsType(),
           help="200, uniform:50-150, normal:200,40 or exponential:200 (200)."),
    option("--prompt-tokens", type=LengthsType(), help="The same in tokens, with the template."),
    option("--prompts", type=click.Path(path_type=Path), metavar="FILE", help="A file of prompts: lines, or .jsonl."),
    option("--max-tokens", type=LengthsType(), help="The longest answer, in tokens (64)."),
    switch("--ignore-eos", "Every answer is as long as --max-tokens."),
    switch("--stream", "Streamed answers (true); --stream=false: no time to first token.", default=None),
    option("--api", type=click.Choice(("chat", "completions")), help="The endpoint to call; default: chat."),
    option("--temperature", type=click.FloatRange(min=0, max=2), metavar="N", help="0: always the likeliest token."),
    option("--max-in-flight", type=Count(1), help="With --rate: the most unanswered requests (1000)."),
)  # fmt: skip


@verb(formats=DOCUMENT)
@click.argument("routes", nargs=-1, metavar="[ROUTE]...")
@_load
@_requests
@option("--csv", type=click.Path(path_type=Path), metavar="FILE", help="Also write the figures as CSV.")
@option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw them, .png or .svg; needs firectl[plot].")
@option("--max-errors", type=Allowance(), default="1%", help="More failed requests are exit code 1 (1%).")
@option(
    "--wait-timeout",
    type=Seconds(),
    default="5m",
    help="The longest wait for a deployment to start (5m).",
)
@option("--compare", metavar="WAYS", help="Deploy and measure live-merge,multi-lora (and base) on this machine.")
@option("--model", multiple=True, metavar="LORA", help="For --compare: the LoRA; more are loaded onto multi-lora.")
@option("--base", metavar="MODEL", help="For --compare: the base; default: the LoRA's own.")
@switch("--keep", "For --compare: do not delete the deployments.")
def bench(
    app: App,
    routes: tuple[str, ...],
    mix: Any,
    csv: Path | None,
    plot: Path | None,
    max_errors: tuple[float, str],
    wait_timeout: float,
    compare: str | None,
    model: tuple[str, ...],
    base: str | None,
    keep: bool | None,
    **given: Any,
) -> None:
    """Send a load to each ROUTE and report rates, latencies and errors, side by side.

    Routes take turns in rounds of one run; ratios are to the first. Short names are completed with the account. With
    --compare, both ways of the tutorial are deployed on the local platform, measured and deleted.

    $ firectl bench my-lora#my-deployment --concurrency 1,8,32
    $ firectl bench my-merged-lora my-lora#my-deployment --concurrency 8 --ignore-eos -o json
    $ firectl bench lora-a#shared lora-b#shared --mix zipf --rate 5 --arrival poisson --duration 1m
    $ firectl bench --compare live-merge,multi-lora --model my-lora --csv figures.csv
    """
    load = flags.build_load(app, given)
    flags.check_files(csv, plot)
    options = run.ReportOptions(csv, plot, max_errors)
    if compare is not None:
        comparison.run_comparison(app, compare, routes, model, base, load, options, wait_timeout, keep=bool(keep))
        return
    flags.refuse_without_compare(routes, model, base, keep)
    flags.refuse_mix_of_one(routes, mix)
    targets = run.targets_of(app, routes, mix)
    ready = run.prepare(app, targets, load, wait_timeout)
    run.show(app, run.measure(app, ready, load), options)
