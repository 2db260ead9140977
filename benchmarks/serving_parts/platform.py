"""The platform around an engine: what its front adds, how long a deploy takes, and what a load does to streams."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from serving_parts.goals import Figure, paired, spread
from serving_parts.load import Address, Turn, measure
from serving_parts.world import Process, World, family, stage

LOADS = 10
STEPS, MOST_TURNS = 500, 24
"""Steps to be seen while a LoRA loads, and the turns after which there are no more, whatever was seen."""
TOGETHER = 0.002
"""Seconds; what is written to several streams after one step is read within less."""
DEPLOYMENT = "accounts/local/deployments/bench"
FIRECTL = "import sys; from firectl.cli.main import main; sys.exit(main())"
IMPORTS = "import firectl.engine.serve, firectl.engine.http.app, firectl.engine.start"
BASE = "accounts/fireworks/models/{}"
INFERENCE = "/inference/v1/completions"


class Platform:
    """A local platform with the models of the run on it."""

    def __init__(self, world: World, process: Process, home: Path) -> None:
        from firectl.client import Client

        self.world = world
        self.process = process
        assert process.child.stdout is not None
        self.url = json.loads(process.child.stdout.readline())["url"]
        self.key = json.loads((home / "credentials.json").read_text())["apiKey"]
        self.port = int(self.url.rsplit(":", 1)[1])
        self.client = Client(self.key, "local", self.url)

    def add(self, name: str, folder: Path, base: str | None = None) -> None:
        words = ["-a", "fireworks"] if base is None else []
        self.firectl(
            *words, "model", "create", name, str(folder), *(["--base-model", BASE.format(base)] if base else [])
        )

    def firectl(self, *words: str) -> float:
        """Seconds that a command took. CalledProcessError where it failed."""
        environment = {**os.environ, "FIREWORKS_BASE_URL": self.url, "FIREWORKS_API_KEY": self.key}
        environment |= {"FIREWORKS_ACCOUNT_ID": "local", "FIREWORKS_HOME": str(self.world.home / "cli")}
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", FIRECTL, *words], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"firectl {' '.join(words)}:\n{done.stderr}")
        return time.perf_counter() - started

    def deploy(self) -> None:
        """The model of the run, ready for addons, as DEPLOYMENT."""
        model = BASE.format("bench")
        self.firectl("deployment", "create", model, "--deployment-id", "bench", "--enable-addons", "--wait")

    def engine(self) -> Address:
        """The one engine's own port, with its own key: what the platform knows, read from the process it started."""
        import httpx

        [engine] = [child for child in family(self.process.child.pid)[1:] if "firectl.engine" in child.cmdline()]
        [port] = {found.laddr.port for found in engine.net_connections("tcp") if found.status == psutil.CONN_LISTEN}
        key = engine.environ()["VLLM_API_KEY"]
        listed = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers={"authorization": f"Bearer {key}"}).json()
        return Address(port, [listed["data"][0]["id"]], key=key)

    def front(self, route: str) -> Address:
        return Address(self.port, [route], INFERENCE, self.key)


@contextlib.contextmanager
def platform(world: World) -> Iterator[Platform]:
    # Its own each time: another part's platform may have left models there.
    home = Path(tempfile.mkdtemp(dir=world.home, prefix="platform-"))
    with stage(world) as servers:
        command = [sys.executable, "-m", "firectl.server", "--home", str(home), "--account", "local"]
        process = servers.spawn("platform", [*command, "--threads", str(world.threads)], talks=True)
        found = Platform(world, process, home)
        try:
            yield found
        finally:
            found.client.close()


def create(world: World) -> tuple[list[Figure], dict[str, object]]:
    from firectl.samples import sample_path

    with platform(world) as here:
        here.add("sample-llama", sample_path("base"))
        here.add("sample-pirate", sample_path("pirate"), "sample-llama")
        return _create(here)


def front(world: World) -> tuple[list[Figure], dict[str, object]]:
    with platform(world) as here:
        here.add("bench", world.base)
        here.deploy()
        return _front(world, here)


def load(world: World) -> tuple[list[Figure], dict[str, object]]:
    with platform(world) as here:
        here.add("bench", world.base)
        for number in range(LOADS):
            here.add(f"a{number}", world.adapters[number], "bench")
        here.deploy()
        return _loads(here)


def _create(here: Platform) -> tuple[list[Figure], dict[str, object]]:
    """`firectl deployment create --wait`, from its start to its end: the proof at the end is an answer of the model."""
    took: dict[str, list[float]] = {"imports": [], "sample-llama": [], "sample-pirate": []}
    for number in range(3):
        for what in list(took)[:: -1 if number % 2 else 1]:
            if what == "imports":
                started = time.perf_counter()
                subprocess.run([sys.executable, "-P", "-c", IMPORTS], check=True)
                took[what].append(time.perf_counter() - started)
                continue
            model = BASE.format(what) if what == "sample-llama" else f"accounts/local/models/{what}"
            took[what].append(here.firectl("deployment", "create", model, "--deployment-id", "d", "--wait"))
            here.firectl("deployment", "delete", "d", "--hard", "--ignore-checks", "--wait")
    imports = statistics.median(took["imports"])
    figures = []
    for what, title in (("sample-llama", "the sample base"), ("sample-pirate", "a live merge of the sample")):
        seconds = statistics.median(took[what])
        note = f"{seconds:.2f} s, imports {imports:.2f} s"
        name = f"deployment create --wait of {title} - engine's imports"
        figures.append(Figure(name, seconds - imports, at_most=3.0, unit="s", note=note))
    return figures, {"deployment create": {name: [round(one, 3) for one in all_] for name, all_ in took.items()}}


def _front(world: World, here: Platform) -> tuple[list[Figure], dict[str, object]]:
    ways = {"front": here.front(DEPLOYMENT), "engine": here.engine()}
    seen: dict[tuple[str, int], list[Turn]] = {}
    # Short turns, and many: what is looked for is smaller than what this machine does from one second to the next.
    order = [(1, 8, 2)] * 8 + [(8, 8, 64)] * 6 + [(32, 32, 64)] * 2
    for number in range(world.rounds + 1):
        for place, (streams, requests, tokens) in enumerate(order if number else [(32, 32, 8)]):
            for name in list(ways)[:: -1 if (number + place) % 2 else 1]:
                seed = 1_000_000 * len(name) + number * 10_000 + place * 100
                turn = measure(ways[name], streams, requests, seed, tokens)
                if number:
                    seen.setdefault((name, streams), []).append(turn)

    def first(name: str) -> float:
        return 1e3 * statistics.median(answer.first for turn in seen[name, 1] for answer in turn.answers)

    note = f"{first('front'):.1f} ms and {first('engine'):.1f} ms"
    figures = [
        Figure(
            "front - engine's port: TTFT P50, 1", first("front") - first("engine"), at_most=3.0, unit="ms", note=note
        )
    ]
    document: dict[str, Any] = {}
    for (name, streams), turns in seen.items():
        document[f"{name}, {streams}"] = {"tokens_per_second": [round(turn.rate, 1) for turn in turns]}
    for streams, wanted in ((8, 0.95), (32, None)):
        rates = {name: [turn.rate for turn in seen[name, streams]] for name in ways}
        medians = f"{statistics.median(rates['front']):.0f} and {statistics.median(rates['engine']):.0f} tok/s"
        note = f"{medians}, {spread(rates['front'], rates['engine'])}"
        name = f"front / engine's port: throughput, {streams}"
        figures.append(Figure(name, paired(rates["front"], rates["engine"]), at_least=wanted, note=note))
    return figures, {"front": document}


def _loads(here: Platform) -> tuple[list[Figure], dict[str, object]]:
    """Steps of eight streams while LoRAs load, one load after the other, and steps of the same streams without."""
    where = here.front(DEPLOYMENT)
    # What a client's first call imports and builds is no part of a load.
    here.client.deployed_models.list()
    loads: list[tuple[float, float]] = []
    gaps: dict[str, list[float]] = {"while": [], "without": []}
    for number in range(MOST_TURNS):
        loading = number % 2 == 1
        before = len(loads)
        begun, done = threading.Event(), threading.Event()
        loader = threading.Thread(target=_load_and_unload, args=(here, loads, begun, done)) if loading else None
        if loader is not None:
            loader.start()
        try:
            turn = measure(where, 8, 8, 3_000_000 + number * 100, 320, begun.set)
        finally:
            done.set()
            begun.set()
            if loader is not None:
                loader.join()
        for sooner, later in pairwise(steps_of(turn)):
            while_loading = any(start < later and sooner < end for start, end in loads[before:])
            if while_loading or not loading:
                gaps["while" if while_loading else "without"].append(later - sooner)
        if loading and len(gaps["while"]) >= STEPS:
            break
    took = [end - start for start, end in loads]
    p99 = {name: statistics.quantiles(found, n=100, method="inclusive")[98] for name, found in gaps.items()}
    note = f"{1e3 * p99['while']:.1f} and {1e3 * p99['without']:.1f} ms, {len(gaps['while'])} steps while one loaded"
    figures = [
        Figure("load-lora: POST to DEPLOYED, the slowest", max(took), at_most=0.5, unit="s", note=f"of {len(took)}, "
               f"median {statistics.median(took):.2f} s, streams running"),
        Figure("P99 step while LoRAs load / without", p99["while"] / p99["without"], at_most=2.0, note=note),
    ]  # fmt: skip
    found = {"seconds": [round(one, 3) for one in took], "p99_step_ms": {k: round(1e3 * v, 2) for k, v in p99.items()}}
    return figures, {"load-lora": found}


def steps_of(turn: Turn) -> list[float]:
    """When each step of the engine was seen, while all streams generated.

    A step brings something to nearly every stream, though not to each: a token can be half a character, and wait.
    """
    begin = max(answer.times[0] for answer in turn.answers)
    end = min(answer.times[-1] for answer in turn.answers)
    times = sorted(time_ for answer in turn.answers for time_ in answer.times if begin <= time_ <= end)
    return [times[0], *(later for sooner, later in pairwise(times) if later - sooner > TOGETHER)]


def _load_and_unload(
    here: Platform, loads: list[tuple[float, float]], begun: threading.Event, done: threading.Event
) -> None:
    """From `begun` to `done` loads LoRAs in turn, and takes each down again; `loads` gets when each load began and
    ended."""
    begun.wait()
    models = here.client.deployed_models
    number = 0
    while not done.is_set():
        started = time.perf_counter()
        row = models.load(f"a{number % LOADS}", "bench")
        name = row.name or ""
        while row.state != "DEPLOYED":
            time.sleep(0.02)
            row = models.get(name)
        loads.append((started, time.perf_counter()))
        models.delete(name)
        models.wait_unloaded(name)
        number += 1
