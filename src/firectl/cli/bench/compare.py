"""`bench --compare`: the ways of the tutorial set up side by side on the local platform, measured, and taken down.

Deployments of its own alone; what is there already is neither used nor touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.bench import report
from firectl.cli.deployment import rollout
from firectl.cli.output.counted import counted
from firectl.cli.output.output import View
from firectl.errors import FirectlError, InputError
from firectl.names import canonical_route, random_id

if TYPE_CHECKING:
    from firectl.bench import BenchTarget, Load
    from firectl.cli.bench.run import Wishes

LIVE_MERGE, MULTI_LORA, BASE = "live-merge", "multi-lora", "base"
WAYS = (LIVE_MERGE, MULTI_LORA, BASE)
DEPLOY_SECONDS = 600.0
DELETE_SECONDS = 60.0


@dataclass
class Setup:
    """What was set up: target → how long it took in seconds, and the deployments that are to go again."""

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
    """The ways that `--compare` names; InputError for any other word."""
    ways = tuple(text.split(","))
    strange = [way for way in ways if way not in WAYS]
    if strange or len(set(ways)) < len(ways):
        what = f"{strange[0]!r} cannot be compared" if strange else "one is named twice"
        raise InputError(f"--compare {text}: {what}", hint=f"--compare {LIVE_MERGE},{MULTI_LORA}")
    return ways


def refuse_hosted(app: App) -> None:
    """On somebody else's machine deployments cost money by the minute: they are for a person to create and delete."""
    if app.is_hosted:
        raise InputError(
            "--compare creates deployments and deletes them; on the hosted service they bill from create to delete, "
            "so it does this on a platform of this machine alone",
            hint="firectl local up, or deploy both ways yourself and name them: firectl bench ROUTE ROUTE",
        )


@contextmanager
def set_up(app: App, ways: Sequence[str], models: Sequence[str], base: str | None, *, keep: bool) -> Iterator[Setup]:
    """Every way deployed, each with proof that it serves; deleted at the end, unless `keep`."""
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
            f"{name} is still there. To delete it: firectl deployment delete {name} --hard --ignore-checks"
            for name in setup.deployments.values()
        ]
        if keep:
            for name in setup.deployments.values():
                app.output.note(f"Kept {name}")
        else:
            _take_down(app, setup)
        app.left_running.clear()


def _read_models(app: App, models: Sequence[str], base: str | None) -> Setup:
    """The LoRAs by their full names, and the one base that they are for."""
    from firectl.schemas.words import ModelKind

    bases: dict[str, str] = {}
    for given in models:
        found = app.client.models.get(given)
        if found.kind != ModelKind.ADDON or found.peft_details is None or not found.peft_details.base_model:
            raise InputError(f"{found.name} is no LoRA: there is nothing to merge or load", hint="firectl model list")
        bases[found.name or given] = found.peft_details.base_model
    wanted = base or next(iter(bases.values()))
    for name, own in bases.items():
        if own != wanted:
            raise InputError(f"{name} is for {own}, not for {wanted}: they cannot share a deployment")
    return Setup(tuple(bases), wanted)


def _deploy(app: App, setup: Setup, way: str, model: str) -> None:
    from firectl.schemas.deployment import Deployment

    asked = Deployment(base_model=model, enable_addons=True if way == MULTI_LORA else None)
    started = time.monotonic()
    made = app.client.deployments.create(asked, deployment_id=f"bench-{way}-{random_id()}")
    setup.deployments[way] = made.name or ""
    rollout.await_deployment(app, made, DEPLOY_SECONDS, probe=True)
    setup.seconds[way] = time.monotonic() - started


def _load(app: App, setup: Setup, model: str) -> None:
    started = time.monotonic()
    row = app.client.deployed_models.load(model, setup.deployments[MULTI_LORA])
    rollout.await_loaded(app, row, DEPLOY_SECONDS, rollout.load_route(app, row))
    setup.load_seconds.append(time.monotonic() - started)


def _target(app: App, setup: Setup, way: str) -> BenchTarget:
    from firectl.bench import BenchTarget
    from firectl.cli.bench.run import endpoint

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
            app.output.warn(f"{name} was not deleted: {error.message}")
            app.output.say(f"To delete it: firectl deployment delete {name} --hard --ignore-checks")
            continue
        app.output.note(f"Deleted {name}")


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    from firectl.cli.output import render

    results = document["results"]
    ways = list(dict.fromkeys(result["target"] for result in results))
    titles = {LIVE_MERGE: "LIVE MERGE", MULTI_LORA: "MULTI-LORA", BASE: "BASE"}
    rows = [(what, *(cells[way] for way in ways)) for what, cells in _comparison(document["comparison"], results)]
    yield from render.table(("", *(titles[way] for way in ways)), rows)
    yield ""
    yield from report.lines(document)


def _comparison(made: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of the tutorial's table, with what was measured in place of words."""
    loaded, seconds = len(made["load_lora_seconds"]), made["deploy_seconds"]
    yield (
        "How it works",
        {
            LIVE_MERGE: "merged into the base at deploy time",
            MULTI_LORA: "loaded beside the base, applied at request time",
            BASE: "no LoRA",
        },
    )
    yield "Number of LoRAs", {LIVE_MERGE: "1", MULTI_LORA: f"{loaded} here", BASE: "0"}
    yield (
        "Time to deploy",
        {
            LIVE_MERGE: f"{seconds.get(LIVE_MERGE, 0):.1f} s",
            MULTI_LORA: f"{seconds.get(MULTI_LORA, 0):.1f} s" + _loads(made["load_lora_seconds"]),
            BASE: f"{seconds.get(MULTI_LORA, 0):.1f} s",
        },
    )
    for level in dict.fromkeys(report.load_of(result) for result in results):
        at = {result["target"]: result for result in results if report.load_of(result) == level}
        yield f"Time to first token, {level}", {way: _first_token(result) for way, result in at.items()}
        yield f"Throughput, {level}", {way: _throughput(result) for way, result in at.items()}
    count = len(made["models"])
    yield (
        f"Deployments for {counted(count, 'LoRA')}",
        {
            LIVE_MERGE: str(count),
            MULTI_LORA: "1",
            BASE: "-",
        },
    )


def _loads(seconds: Sequence[float]) -> str:
    return f", then {max(seconds):.1f} s a LoRA at most" if seconds else ""


def _first_token(result: Mapping[str, Any]) -> str:
    spread = result.get("time_to_first_token") or result.get("end_to_end_latency")
    if spread is None:
        return "-"
    return f"{report.ms(spread['p50'])} ms{_beside(report.ratio(result, 'time_to_first_token_p50'))}"


def _throughput(result: Mapping[str, Any]) -> str:
    ratio = _beside(report.ratio(result, "generated_tokens_per_second"))
    return f"{result['generated_tokens_per_second']:.0f} tokens/s{ratio}"


def _beside(ratio: str | None) -> str:
    return f" ({ratio})" if ratio else ""


VIEW = View(text=_lines)


def run_comparison(
    app: App,
    compare: str,
    routes: Sequence[str],
    models: Sequence[str],
    base: str | None,
    load: Load,
    wishes: Wishes,
    timeout: float,
    *,
    keep: bool,
) -> None:
    """`--compare` from deploy to delete. Every answer is as long as asked: ways whose answers end early at different
    lengths cannot be compared."""
    from dataclasses import replace

    from firectl.cli.bench.run import measure, prepare, show

    ways = ways_of(compare)
    if routes:
        raise InputError("--compare makes its own routes", hint="name routes, or --compare with --model")
    if not models:
        raise InputError("--compare needs a LoRA", hint="add --model MODEL, and repeat it to load several")
    models = [app.full_name(model, "models") for model in models]
    base = app.full_name(base, "models") if base else None
    refuse_hosted(app)
    load = replace(load, ignore_eos=True)
    with set_up(app, ways, models, base, keep=keep) as setup:
        report = measure(app, prepare(app, setup.targets, load, timeout), load)
        show(app, report, wishes, {"comparison": setup.to_document()}, VIEW)
