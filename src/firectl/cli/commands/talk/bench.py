"""`firectl bench`: a load on routes, measured side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from firectl.cli.app import App, pass_app
from firectl.cli.bench.flags import MOST_RATE, MOST_STREAMS, Allowance, LengthsType, Levels, MixType
from firectl.cli.grammar.params import option, switch, together
from firectl.cli.grammar.syntax import DOCUMENT, verb
from firectl.cli.grammar.types import Count, Seconds

_load = together(
    option("--concurrency", type=Levels(MOST_STREAMS, whole=True), metavar="N[,N…]",
           help="Streams at once, each number measured in turn (1)."),
    option("--rate", type=Levels(MOST_RATE, whole=False), metavar="N[,N…]",
           help="Requests per second instead, whatever is still unanswered."),
    option("--arrival", type=click.Choice(("constant", "poisson")), help="How a rate arrives; default: constant."),
    option("--requests", type=Count(1), metavar="N", help="To each route at each level."),
    option("--duration", type=Seconds(), metavar="DURATION", help="Of each route at each level, all rounds (10s)."),
    option("--rounds", type=Count(1), metavar="N", help="How often routes take turns (3; a single route: 1)."),
    option("--warmup", type=Count(), metavar="N", help="Requests first that do not count (one a stream)."),
    option("--mix", type=MixType(), default="each", metavar="MIX",
           help="each: every route by itself. One load over all: round-robin, uniform, zipf, zipf:EXPONENT (each)."),
    option("--seed", type=Count(), metavar="N", help="Same seed, same plan; default: another each time."),
)  # fmt: skip

_requests = together(
    option("--prompt-characters", type=LengthsType(), metavar="LENGTHS",
           help="200, uniform:50-150, normal:200,40 or exponential:200 (200)."),
    option("--prompt-tokens", type=LengthsType(), metavar="LENGTHS", help="The same in tokens, a chat template's too."),
    option("--prompts", type=click.Path(path_type=Path), metavar="FILE", help="Texts instead, one a line, or .jsonl."),
    option("--max-tokens", type=LengthsType(), metavar="LENGTHS", help="The longest answer (64)."),
    switch("--ignore-eos", "Every answer is as long as --max-tokens."),
    switch("--stream", "Streamed answers (true); --stream=false: no time to first token.", default=None),
    option("--api", type=click.Choice(("chat", "completions")), help="Which requests; default: chat."),
    option("--temperature", type=click.FloatRange(min=0, max=2), metavar="N", help="0: always the likeliest (0)."),
    option("--max-in-flight", type=Count(1), metavar="N", help="Of a rate: how many may be unanswered (1000)."),
)  # fmt: skip


@verb(formats=DOCUMENT)
@click.argument("routes", nargs=-1, metavar="[ROUTE]...")
@_load
@_requests
@option("--csv", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures as CSV, too.")
@option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw them, .png or .svg; needs firectl[plot].")
@option(
    "--max-errors", type=Allowance(), default="1%", metavar="N|N%", help="More failed requests are exit code 1 (1%)."
)
@option("--wait-timeout", type=Seconds(), default="5m", metavar="DURATION", help="The longest wait for a start (5m).")
@option("--compare", metavar="WAYS", help="Deploy and measure live-merge,multi-lora (and base) on this machine.")
@option("--model", multiple=True, metavar="LORA", help="For --compare: the LoRA; more are loaded onto multi-lora.")
@option("--base", metavar="MODEL", help="For --compare: the base; default: the LoRA's own.")
@switch("--keep", "For --compare: do not delete the deployments.")
@pass_app
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
    from firectl.cli.bench import compare as comparison
    from firectl.cli.bench import flags, run

    load = flags.build_load(app, given)
    flags.check_files(csv, plot)
    wishes = run.Wishes(csv, plot, max_errors)
    if compare is not None:
        comparison.run_comparison(app, compare, routes, model, base, load, wishes, wait_timeout, keep=bool(keep))
        return
    flags.refuse_without_compare(routes, model, base, keep)
    flags.refuse_mix_of_one(routes, mix)
    targets = run.targets_of(app, routes, mix)
    ready = run.prepare(app, targets, load, wait_timeout)
    run.show(app, run.measure(app, ready, load), wishes)
