"""One run of `bench`: complete and probe the routes, send the load, write the report, judge it.

Probes with the client and sends the load with firectl.bench. Ctrl-C writes the results so far.
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
    from firectl.bench import Endpoint, Load, Mix, Report, Target, Tokenizing

SHORT, LONG = 60, 460
"""Characters of the two prompts that measure the tokens per character."""


@dataclass(frozen=True)
class ReportOptions:
    """What to do with a report. `max_errors`: (1.0, "number") or (0.01, "share")."""

    csv: Path | None
    plot: Path | None
    max_errors: tuple[float, str]


def endpoint(app: App) -> Endpoint:
    from firectl.bench import Endpoint

    return Endpoint(f"{app.client.base_url}/inference/v1", app.settings.api_key.value)


def targets_of(app: App, routes: Sequence[str], mix: Mix | None) -> list[Target]:
    """One target per route, or one for all with a mix. InputError for an invalid route."""
    from firectl.bench import Target

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
        return [Target(f"mix of {len(complete)}", tuple(complete), where, mix)]
    return [Target(route, (route,), where) for route in complete]


def prepare(app: App, targets: Sequence[Target], load: Load, timeout: float) -> list[Target]:
    """Probes every route once, and measures the tokens per character if the load needs it.

    Waits at most `timeout` seconds for a deployment that is starting. Raises permanent errors; transient ones are left
    for the load to count.
    """
    for target in targets:
        for route in target.routes:
            _ask(app, route, load, 1, timeout)
    if not load.prompt_in_tokens:
        return list(targets)
    return [replace(target, tokenizing=_tokenizing(app, target.routes[0], load, timeout)) for target in targets]


def _ask(app: App, route: str, load: Load, characters: int, timeout: float) -> Mapping[str, Any] | None:
    """The usage of a short answer. None after a transient error."""
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


def measure(app: App, targets: Sequence[Target], load: Load) -> Report:
    """The report of a run. After Ctrl-C, a report of the results so far."""
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
            # Ctrl-C before the first step leaves the coroutine unawaited, of which Python would warn.
            work.close()
    return report_of(run)


def show(
    app: App,
    report: Report,
    options: ReportOptions,
    extra: Mapping[str, Any] | None = None,
    view: View = bench_report.VIEW,
) -> None:
    """Writes the report. Then raises KeyboardInterrupt after Ctrl-C, or FirectlError for too many errors."""
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


def judge(report: Report, max_errors: tuple[float, str]) -> None:
    """FirectlError if no request to a target succeeded, or if more failed than allowed."""
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
