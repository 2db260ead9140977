"""Run `bench` once: complete and probe the routes, send the load, write the report, and check for too many errors.

The client sends the probes, and firectl.bench sends the load. After Ctrl-C the results so far are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.bench import report as bench_report
from firectl.cli.output.counted import counted
from firectl.cli.output.output import View
from firectl.errors import ApiError, FirectlError, InputError, NetworkError

if TYPE_CHECKING:
    from firectl.bench import BenchReport, BenchTarget, Endpoint, Load, Mix, Tokenizing

SHORT, LONG = 60, 460
"""Lengths in characters of the two prompts that are sent to measure the characters per token."""


@dataclass(frozen=True)
class ReportOptions:
    """Where to write a report, and how many errors are allowed. `max_errors`: (1.0, "number") or (0.01, "share")."""

    csv: Path | None
    plot: Path | None
    max_errors: tuple[float, str]


def endpoint(app: App) -> Endpoint:
    from firectl.bench import Endpoint

    return Endpoint(f"{app.client.base_url}/inference/v1", app.settings.api_key.value)


def targets_of(app: App, routes: Sequence[str], mix: Mix | None) -> list[BenchTarget]:
    """Return one target for each route, or with `mix` one target for all routes. InputError for an invalid route."""
    from firectl.bench import BenchTarget

    if mix is not None and len(set(routes)) == 1:
        raise InputError("--mix needs several routes, got one", hint="name more routes")
    for route in routes:
        app.check_route(route)
    complete = [app.client.inference.route(route) for route in routes]
    for given, route in zip(routes, complete, strict=True):
        if given != route:
            app.output.note(f"Route: {route}")
    if len(set(complete)) < len(complete):
        raise InputError("a route is named twice: each may be named once")
    where = endpoint(app)
    if mix is not None:
        return [BenchTarget(f"mix of {len(complete)}", tuple(complete), where, mix)]
    return [BenchTarget(route, (route,), where) for route in complete]


def prepare(app: App, targets: Sequence[BenchTarget], load: Load, timeout: float) -> list[BenchTarget]:
    """Probe every route once. If the load gives prompt lengths in tokens, also measure the characters per token.

    Waits at most `timeout` seconds for a deployment that is starting. Raises permanent errors and network errors. Other
    transient errors are ignored here; the load counts them.
    """
    for target in targets:
        for route in target.routes:
            _ask(app, route, load, 1, timeout)
    if not load.prompt_in_tokens:
        return list(targets)
    return [replace(target, tokenizing=_tokenizing(app, target.routes[0], load, timeout)) for target in targets]


def _ask(app: App, route: str, load: Load, characters: int, timeout: float) -> Mapping[str, Any] | None:
    """Send a short request and return the usage of its answer. None after a transient error."""
    from random import Random

    from firectl.bench.plan import some_text
    from firectl.client.http.retry import is_transient
    from firectl.client.inference import CHAT, COMPLETIONS, until_up
    from firectl.client.proof import PROBE

    text = some_text(characters, Random(characters))
    asked = {"messages": [{"role": "user", "content": text}]} if load.chat else {"prompt": text}
    body = {"model": route, "max_tokens": 1, **asked}
    path = CHAT if load.chat else COMPLETIONS
    with app.progress.steps(f"asking {route}") as steps:
        try:
            answer = until_up(
                lambda: app.client.inference.post(path, body, headers=PROBE, timeout=load.timeout, max_retries=0),
                timeout,
                on_wait=lambda error: steps.say(f"waiting: {error.message}"),
            )
        except ApiError as error:
            if isinstance(error, NetworkError) or not is_transient(error):
                error.hint = error.hint or f"firectl route check '{route}' --live"
                raise
            app.output.note(f"{route} answered the first request with HTTP {error.http_status}: {error.message}")
            return None
    return answer.usage


def _tokenizing(app: App, route: str, load: Load, timeout: float) -> Tokenizing:
    from firectl.bench import Tokenizing

    short, long = ((_ask(app, route, load, size, timeout) or {}).get("prompt_tokens") for size in (SHORT, LONG))
    if not isinstance(short, int) or not isinstance(long, int) or long <= short:
        raise InputError(f"{route} does not report the tokens of a prompt", hint="use --prompt-characters instead")
    per_token = (LONG - SHORT) / (long - short)
    return Tokenizing(per_token, short - SHORT / per_token)


def measure(app: App, targets: Sequence[BenchTarget], load: Load) -> BenchReport:
    """Send the load and return the report. After Ctrl-C, the report has the results so far."""
    import asyncio
    import math

    from firectl.bench import Generator, report_of
    from firectl.cli.bench.live import watch
    from firectl.cli.grammar.durations import format_duration

    said = [f"{counted(len(targets), 'target')}, {', '.join(map(str, load.levels))}"]
    if load.seconds is not None:
        sending = math.ceil(len(targets) * len(load.levels) * load.seconds)
        said.append(f"stops sending after {format_duration(sending)}, the warm-up apart")
    app.output.note("; ".join([*said, f"to send the same again: --seed {load.seed}"]))
    with watch(app.progress, app.output) as (on_tick, on_round):
        run = Generator(targets, load, on_tick=on_tick, on_round=on_round)
        work = run.run()
        try:
            asyncio.run(work)
        except KeyboardInterrupt:
            return report_of(run, interrupted=True)
        finally:
            # After Ctrl-C before its first step, the coroutine was never awaited. Closing it avoids Python's warning.
            work.close()
    return report_of(run)


def show(
    app: App,
    report: BenchReport,
    options: ReportOptions,
    extra: Mapping[str, Any] | None = None,
    view: View = bench_report.VIEW,
) -> None:
    """Write the report. Then raise KeyboardInterrupt for an interrupted run, or FirectlError for too many errors."""
    from firectl.bench.files import write_csv, write_plot

    app.emit({**(extra or {}), **report.to_document()}, view)
    if options.csv is not None:
        write_csv(report, options.csv)
        app.output.note(f"Wrote {options.csv}")
    if options.plot is not None and any(result.figures.succeeded for result in report.results):
        write_plot(report, options.plot)
        app.output.note(f"Wrote {options.plot}")
    for result in report.results:
        if result.figures.without_usage:
            app.output.warn(
                f"{result.target.name}: {result.figures.without_usage} answers did not report their tokens "
                "and are missing from the token figures"
            )
        if result.figures.sent_late and result.figures.send_lag is not None:
            app.output.warn(
                f"{result.target.name}, {result.level}: one request in a hundred was sent "
                f"{bench_report.ms(result.figures.send_lag.p99)} ms late or more (send_lag), so the load was lower "
                "than requested: use a lower --rate, or an idle machine"
            )
    if report.interrupted:
        raise KeyboardInterrupt
    judge(report, options.max_errors)


def judge(report: BenchReport, max_errors: tuple[float, str]) -> None:
    """Raise FirectlError if the run was given up, a target had no success, or more requests failed than allowed."""
    if report.gave_up is not None:
        raise FirectlError(f"the run was given up: {report.gave_up}", hint="firectl route check ROUTE --live")
    for result in report.results:
        if result.figures.succeeded == 0:
            raise FirectlError(f"all requests to {result.target.name} at {result.level} failed")
    most, unit = max_errors
    allowed = most * report.requests if unit == "share" else most
    if report.failed > allowed:
        limit = f"{100 * most:g}%" if unit == "share" else f"{most:.0f}"
        raise FirectlError(
            f"{report.failed} of {report.requests} requests failed, more than --max-errors {limit}",
            hint="--max-errors 100% allows any number of errors",
        )
