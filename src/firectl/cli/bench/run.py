"""One run of `bench`: routes completed and asked once, the load sent, the report written, the verdict.

Asks with the client, loads with firectl.bench; Ctrl-C writes what there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
"""Characters of the two prompts that show how many tokens a text has."""


@dataclass(frozen=True)
class Wishes:
    """What happens with the report: files to write, and how many errors are borne as (number, share or number)."""

    csv: Path | None
    plot: Path | None
    max_errors: tuple[float, str]


def endpoint(app: App) -> Endpoint:
    from firectl.bench import Endpoint

    return Endpoint(f"{app.client.base_url}/inference/v1", app.settings.api_key.value)


def targets_of(app: App, routes: Sequence[str], mix: Mix | None) -> list[BenchTarget]:
    """A target for each route, or with a mix one of all; InputError for a string that is no route."""
    from firectl.bench import BenchTarget

    for route in routes:
        app.check_route(route)
    complete = [app.client.inference.route(route) for route in routes]
    for given, route in zip(routes, complete, strict=True):
        if given != route:
            app.output.note(f"Route: {route}")
    if len(set(complete)) < len(complete):
        raise InputError("a route is named twice", hint="name each once")
    where = endpoint(app)
    if mix is not None:
        return [BenchTarget(f"mix of {len(complete)}", tuple(complete), where, mix)]
    return [BenchTarget(route, (route,), where) for route in complete]


def prepare(app: App, targets: Sequence[BenchTarget], load: Load, timeout: float) -> list[BenchTarget]:
    """Asks every route once, so that a load meets what is there and up; learns how many tokens a text has, if needed.

    A deployment that is starting is waited for, `timeout` seconds at most. An error that a load could meet now and
    then is left for the load to count; what is wrong for good is raised.
    """
    from dataclasses import replace

    ready: list[BenchTarget] = []
    for target in targets:
        for route in target.routes:
            _ask(app, route, load, 1, timeout)
        if load.prompt_in_tokens:
            target = replace(target, tokenizing=_tokenizing(app, target.routes[0], load, timeout))
        ready.append(target)
    return ready


def _ask(app: App, route: str, load: Load, characters: int, timeout: float) -> Mapping[str, Any] | None:
    """The usage of a short answer; None where the server was too busy to give one."""
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
            app.output.note(f"{route} answered HTTP {error.http_status} to a first request: {error.message}")
            return None
    return answer.usage


def _tokenizing(app: App, route: str, load: Load, timeout: float) -> Tokenizing:
    from firectl.bench import Tokenizing

    short, long = (_prompt_tokens(_ask(app, route, load, size, timeout)) for size in (SHORT, LONG))
    if short is None or long is None or long <= short:
        raise InputError(f"{route} does not say how many tokens a prompt has", hint="use --prompt-characters instead")
    per_token = (LONG - SHORT) / (long - short)
    return Tokenizing(per_token, short - SHORT / per_token)


def _prompt_tokens(usage: Mapping[str, Any] | None) -> int | None:
    found = (usage or {}).get("prompt_tokens")
    return found if isinstance(found, int) else None


def measure(app: App, targets: Sequence[BenchTarget], load: Load) -> BenchReport:
    """The report of a run; of one that Ctrl-C ended, what there was by then."""
    import asyncio
    import math

    from firectl.bench import Generator, report_of
    from firectl.cli.bench.live import watch
    from firectl.cli.grammar.durations import format_duration

    said = [f"{counted(len(targets), 'target')}, {', '.join(map(str, load.levels))}"]
    if load.seconds is not None:
        # What was asked for; how long a request may take is a limit for when something is wrong, and no estimate.
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
            # After a Ctrl-C before its first step Python would complain that nobody has waited for it.
            work.close()
    return report_of(run)


def show(
    app: App,
    report: BenchReport,
    wishes: Wishes,
    extra: Mapping[str, Any] | None = None,
    view: View = bench_report.VIEW,
) -> None:
    """Writes the report where it is wanted, then says whether it is a failure: KeyboardInterrupt after a Ctrl-C,
    FirectlError (exit 1) when no request or too few were answered."""
    from firectl.bench.files import write_csv, write_plot

    app.emit({**(extra or {}), **report.to_document()}, view)
    if wishes.csv is not None:
        write_csv(report, wishes.csv)
        app.output.note(f"Wrote {wishes.csv}")
    if wishes.plot is not None and any(result.figures.succeeded for result in report.results):
        write_plot(report, wishes.plot)
        app.output.note(f"Wrote {wishes.plot}")
    for result in report.results:
        if result.figures.without_usage:
            app.output.warn(
                f"{result.target.name}: {result.figures.without_usage} answers did not say how many tokens they have; "
                "no figure of tokens holds them"
            )
        if result.figures.sent_late and result.figures.send_lag is not None:
            app.output.warn(
                f"{result.target.name}, {result.level}: one request in a hundred was sent "
                f"{bench_report.ms(result.figures.send_lag.p99)} ms late or more (send_lag); the load was not the one "
                "that was asked for, so take a lower --rate, or a machine with nothing else to do"
            )
    if report.interrupted:
        raise KeyboardInterrupt
    judge(report, wishes.max_errors)


def judge(report: BenchReport, max_errors: tuple[float, str]) -> None:
    """FirectlError when nothing succeeded at a target, or more failed than is borne."""
    if report.gave_up is not None:
        raise FirectlError(f"given up: {report.gave_up}", hint="firectl route check ROUTE --live")
    for result in report.results:
        if result.figures.succeeded == 0:
            raise FirectlError(f"no request to {result.target.name} at {result.level} was answered")
    most, unit = max_errors
    borne = most * report.requests if unit == "share" else most
    if report.failed > borne:
        wanted = f"{most:.3g} of all" if unit == "share" else f"{most:.0f}"
        raise FirectlError(
            f"{report.failed} of {report.requests} requests failed, and at most {wanted} may",
            hint="--max-errors 100% takes every error as a figure",
        )
