"""Implement `bench --compare`: deploy LoRAs by live merge and multi-LoRA on a local platform, measure, and delete.

Uses only deployments that it created itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.bench import report
from firectl.cli.bench.flags import EXAMPLE
from firectl.cli.bench.run import ReportOptions, endpoint, measure, prepare, show
from firectl.cli.deployment import rollout
from firectl.cli.grammar.waiting import Waiting
from firectl.cli.output import render
from firectl.cli.output.counted import counted
from firectl.cli.output.output import View
from firectl.errors import FirectlError, InputError
from firectl.names import canonical_route, random_id
from firectl.schemas.words import ModelKind

if TYPE_CHECKING:
    from firectl.bench import BenchTarget, Load

LIVE_MERGE, MULTI_LORA, BASE = "live-merge", "multi-lora", "base"
WAYS = (LIVE_MERGE, MULTI_LORA, BASE)
WAIT = Waiting(600.0, probe=True)
DELETE_SECONDS = 60.0


@dataclass
class Setup:
    """Record what was deployed (way → deployment), and how many seconds each step took."""

    models: tuple[str, ...]
    base: str
    targets: list[BenchTarget] = field(default_factory=list)
    deployments: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    load_seconds: list[float] = field(default_factory=list)

    def to_document(self) -> dict[str, Any]:
        return {
            "models": [*self.models],
            "base": self.base,
            "deployments": self.deployments,
            "deploy_seconds": {way: round(seconds, 3) for way, seconds in self.seconds.items()},
            "load_lora_seconds": [round(seconds, 3) for seconds in self.load_seconds],
        }


def ways_of(text: str) -> tuple[str, ...]:
    """Return the ways in the value of `--compare`. InputError for an unknown or repeated way."""
    ways = tuple(text.split(","))
    strange = [way for way in ways if way not in WAYS]
    if strange or len(set(ways)) < len(ways):
        unknown = f"expected {', '.join(WAYS)}, got {strange[0]!r}" if strange else ""
        what = unknown or "each way can be named once, and one is named twice"
        raise InputError(f"--compare {text}: {what}", hint=f"--compare {LIVE_MERGE},{MULTI_LORA}")
    return ways


def refuse_hosted(app: App) -> None:
    """Raise InputError on the hosted service, because deployments cost money there and a person should create them."""
    if app.is_hosted:
        raise InputError(
            "--compare creates and deletes deployments, which bill on the hosted service; it works only on a local "
            "platform",
            hint="firectl local up, or deploy both ways yourself and name them: firectl bench ROUTE ROUTE",
        )


@contextmanager
def set_up(app: App, ways: Sequence[str], models: Sequence[str], base: str | None, *, keep: bool) -> Iterator[Setup]:
    """Deploy every way and prove that it serves. Delete the deployments at the end, unless `keep`."""
    setup = _read_models(app, models, base)
    try:
        if LIVE_MERGE in ways:
            _deploy(app, setup, LIVE_MERGE, setup.models[0])
        if MULTI_LORA in ways or BASE in ways:
            _deploy(app, setup, MULTI_LORA, setup.base)
        if MULTI_LORA in ways:
            for model in setup.models:
                _load(app, setup, model)
        setup.targets = [_target(app, setup, way) for way in ways]
        yield setup
    finally:
        app.left_running[:] = [
            f"{name} still exists. To delete it: firectl deployment delete {name} --hard --ignore-checks"
            for name in setup.deployments.values()
        ]
        if keep:
            for name in setup.deployments.values():
                app.output.note(f"Kept {name}")
        else:
            _take_down(app, setup)
        app.left_running.clear()


def _read_models(app: App, models: Sequence[str], base: str | None) -> Setup:
    """Check that the models are LoRAs of one base, and return a Setup with the models and the base."""
    bases: dict[str, str] = {}
    for given in models:
        found = app.client.models.get(given)
        if found.kind != ModelKind.ADDON or found.peft_details is None or not found.peft_details.base_model:
            raise InputError(f"expected a LoRA with a known base model, got {found.name}", hint="firectl model list")
        bases[found.name or given] = found.peft_details.base_model
    wanted = base or next(iter(bases.values()))
    for name, own in bases.items():
        if own != wanted:
            raise InputError(f"{name} is for the base {own}, not {wanted}: all LoRAs must have the same base")
    return Setup(tuple(bases), wanted)


def _deploy(app: App, setup: Setup, way: str, model: str) -> None:
    from firectl.schemas.deployment import Deployment

    asked = Deployment(base_model=model, enable_addons=True if way == MULTI_LORA else None)
    started = time.monotonic()
    made = app.client.deployments.create(asked, deployment_id=f"bench-{way}-{random_id()}")
    setup.deployments[way] = made.name or ""
    rollout.await_deployment(app, made, WAIT)
    setup.seconds[way] = time.monotonic() - started


def _load(app: App, setup: Setup, model: str) -> None:
    started = time.monotonic()
    row = app.client.deployed_models.load(model, setup.deployments[MULTI_LORA])
    rollout.await_loaded(app, row, WAIT, rollout.load_route(app, row))
    setup.load_seconds.append(time.monotonic() - started)


def _target(app: App, setup: Setup, way: str) -> BenchTarget:
    from firectl.bench import BenchTarget

    if way == LIVE_MERGE:
        routes: tuple[str, ...] = (canonical_route(setup.models[0], setup.deployments[LIVE_MERGE]),)
    elif way == BASE:
        routes = (setup.deployments[MULTI_LORA],)
    else:
        routes = tuple(canonical_route(model, setup.deployments[MULTI_LORA]) for model in setup.models)
    return BenchTarget(way, routes, endpoint(app))


def _take_down(app: App, setup: Setup) -> None:
    for name in setup.deployments.values():
        try:
            app.client.deployments.delete(name, hard=True, ignore_checks=True)
            app.client.deployments.wait_deleted(name, DELETE_SECONDS)
        except FirectlError as error:
            app.output.warn(f"{name} could not be deleted: {error.message}")
            app.output.say(f"To delete it: firectl deployment delete {name} --hard --ignore-checks")
            continue
        app.output.note(f"Deleted {name}")


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    results = document["results"]
    ways = list(dict.fromkeys(result["target"] for result in results))
    shown = [0, *(1 + WAYS.index(way) for way in ways)]
    header, *rows = ([row[at] for at in shown] for row in _comparison(document["comparison"], results))
    yield from render.table(header, rows)
    yield ""
    yield from report.lines(document)


def _comparison(made: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the tutorial's table with measured numbers: a header, then rows with a title and a cell for each way."""
    seconds, loads = made["deploy_seconds"], made["load_lora_seconds"]
    merged, shared = (f"{seconds.get(way, 0):.1f} s" for way in (LIVE_MERGE, MULTI_LORA))
    then = f", then {max(loads):.1f} s a LoRA at most" if loads else ""
    yield "", "LIVE MERGE", "MULTI-LORA", "BASE"
    merge, load = "merged into the base at deploy time", "loaded beside the base, applied at request time"
    yield "How it works", merge, load, "no LoRA"
    yield "Number of LoRAs", "1", f"{len(loads)} here", "0"
    yield "Time to deploy", merged, shared + then, shared
    for level in dict.fromkeys(report.load_of(result) for result in results):
        at = {result["target"]: result for result in results if report.load_of(result) == level}
        for what, cell in (("Time to first token", _first_token), ("Throughput", _throughput)):
            yield f"{what}, {level}", *(cell(at[way]) if way in at else "-" for way in WAYS)
    count = len(made["models"])
    yield f"Deployments for {counted(count, 'LoRA')}", str(count), "1", "-"


def _first_token(result: Mapping[str, Any]) -> str:
    spread = result.get("time_to_first_token") or result.get("end_to_end_latency")
    if spread is None:
        return "-"
    return _with_ratio(f"{report.ms(spread['p50'])} ms", result, "time_to_first_token_p50")


def _throughput(result: Mapping[str, Any]) -> str:
    rate = "generated_tokens_per_second"
    return _with_ratio(f"{result[rate]:.0f} tokens/s", result, rate)


def _with_ratio(text: str, result: Mapping[str, Any], name: str) -> str:
    ratio = report.ratio(result, name)
    return f"{text} ({ratio})" if ratio else text


VIEW = View(text=_lines)


def run_comparison(
    app: App,
    compare: str,
    routes: Sequence[str],
    models: Sequence[str],
    base: str | None,
    load: Load,
    options: ReportOptions,
    timeout: float,
    *,
    keep: bool,
) -> None:
    """Run `--compare` from deploy to delete. Set ignore_eos, because only answers of equal length can be compared."""
    ways = ways_of(compare)
    if routes or not models:
        wrong = "creates its own routes and takes none" if routes else "needs at least one --model"
        raise InputError(f"--compare {wrong}", hint=EXAMPLE)
    models = [app.full_name(model, "models") for model in models]
    base = app.full_name(base, "models") if base else None
    refuse_hosted(app)
    load = replace(load, ignore_eos=True)
    with set_up(app, ways, models, base, keep=keep) as setup:
        result = measure(app, prepare(app, setup.targets, load, timeout), load)
        show(app, result, options, {"comparison": setup.to_document()}, VIEW)
