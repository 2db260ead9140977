"""Live merge and multi-LoRA, beside vLLM, generate() and PEFT's mixed batch: in turns, one after the other."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from serving_parts.goals import Figure, paired, spread
from serving_parts.load import Address, Turn, measure
from serving_parts.world import MANY, Process, Stage, World, address, stage

STREAMS = (1, 8, 32)
REQUESTS = {1: 12, 8: 24, 32: 64}
MERGE, FOUR, SIXTY_FOUR = "live merge", "multi-LoRA, 4 adapters", f"multi-LoRA, {MANY} adapters"
VLLM, VLLM_LORA = "vLLM, merged", "vLLM, 4 adapters"
MOST_SECONDS = 500
"""Of the rounds of a part: no more are begun beyond it."""
NEAR = 2
"""A merge's step of fewer floors than this is near its floor."""
WORDS = {
    "float32": "generate() of 8, float32, tok/s",
    "bfloat16": "generate() of 8, bfloat16, tok/s",
    "peft": "PEFT's mixed batch of 8, tok/s",
    "read": "memory read, bytes/s",
}


@dataclass
class _Found:
    """What was measured so far: turns by target and streams, and the worker's numbers by word."""

    turns: dict[tuple[str, int], list[Turn]] = field(default_factory=lambda: defaultdict(list))
    numbers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    idle: dict[str, float] = field(default_factory=dict)

    def rates(self, name: str, streams: int) -> list[float]:
        return [turn.rate for turn in self.turns[name, streams]]

    def ratio(
        self, title: str, name: str, other: str, streams: int, at_least: float | None = None, note: str = ""
    ) -> Figure:
        """How many times as many tokens a second, with what single rounds gave."""
        ours, theirs = self.rates(name, streams), self.rates(other, streams)
        note = "; ".join(filter(None, (note, spread(ours, theirs))))
        return Figure(f"{title}, {streams}", paired(ours, theirs), at_least=at_least, note=note)

    def firsts(self, name: str, streams: int) -> list[float]:
        return [statistics.median(answer.first for answer in turn.answers) for turn in self.turns[name, streams]]

    def step(self, name: str, streams: int) -> float:
        """Milliseconds for a token after the first, of the median answer."""
        return 1e3 * statistics.median(answer.step for turn in self.turns[name, streams] for answer in turn.answers)

    def generated(self) -> list[float]:
        return [max(pair) for pair in zip(self.numbers["float32"], self.numbers["bfloat16"], strict=True)]


def run(world: World) -> tuple[list[Figure], dict[str, object]]:
    """Ours, generate() and PEFT."""
    with stage(world) as servers:
        targets = _ours(world, servers)
        many = servers.engine("many", world.base, adapters=world.adapters[:MANY])
        targets[SIXTY_FOUR] = (many, address(many, [folder.name for folder in world.adapters[:MANY]]))
        worker = _Worker(world, servers)
        found = _measure(world, servers, targets, worker)
    return _our_figures(world, found), _document(found)


def run_vllm(world: World) -> tuple[list[Figure], dict[str, object]]:
    """Ours and vLLM's; nothing where there is no vLLM."""
    if not world.vllm_python:
        print("vLLM is left out: no --vllm-python", flush=True)
        return [], {}
    vllm = [world.vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--max-model-len", "1024"]
    vllm += ["--served-model-name", "base", "--model"]
    four = world.adapters[:4]
    modules = [f"{folder.name}={folder}" for folder in four]
    options = ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "16", "--lora-modules", *modules]
    with stage(world) as servers:
        targets = _ours(world, servers)
        plain, chosen, environment = _fastest_vllm(world, servers, [*vllm, str(world.merged)])
        lora = servers.start("vllm-lora", [*vllm, str(world.base), *options, *chosen], 300, **environment)
        targets[VLLM] = (plain, address(plain, ["base"]))
        targets[VLLM_LORA] = (lora, address(lora, [folder.name for folder in four]))
        found = _measure(world, servers, targets, None)
    figures = [found.ratio("live merge / vLLM merged", MERGE, VLLM, streams, 1.0) for streams in STREAMS]
    for streams, wanted in ((1, None), (8, 3.0), (32, 4.0)):
        figures.append(found.ratio("multi-LoRA of 4 / vLLM multi-LoRA", FOUR, VLLM_LORA, streams, wanted))
    return figures, _document(found)


def _ours(world: World, servers: Stage) -> dict[str, tuple[Process, Address]]:
    four = world.adapters[:4]
    merge = servers.engine("merge", world.merged)
    lora = servers.engine("four", world.base, adapters=four)
    return {
        MERGE: (merge, address(merge, ["base"])),
        FOUR: (lora, address(lora, [folder.name for folder in four])),
    }


def _measure(
    world: World, servers: Stage, targets: dict[str, tuple[Process, Address]], worker: _Worker | None
) -> _Found:
    """Rounds of all targets, every other one backwards, until there are enough or their time is up; one at least."""
    found = _Found()
    found.idle = {process.name: round(servers.idle_share(process), 3) for process, _ in targets.values()}
    started = time.monotonic()
    for number in range(world.rounds + 1):
        if number > 1 and time.monotonic() - started > MOST_SECONDS * number / (number + 1):
            print(f"{number - 1} rounds took {time.monotonic() - started:.0f} s: no more of them", flush=True)
            break
        for streams in STREAMS:
            names = [name for name in targets if streams == 8 or name != SIXTY_FOUR]
            for name in names[:: -1 if number % 2 else 1]:
                process, where = targets[name]
                servers.only([process])
                # The first round warms up: every adapter is used, every shape is met.
                requests = REQUESTS[streams] if number else max(streams, len(where.models))
                turn = measure(where, streams, requests, number * 100_000 + streams * 1_000)
                what = f"round {number}" if number else "warm-up"
                print(f"  {what}, {name}, {streams}: {turn.rate:.0f} tok/s in {turn.seconds:.1f} s", flush=True)
                if number:
                    found.turns[name, streams].append(turn)
            if streams == 8 and worker is not None:
                servers.only([worker.process])
                for word in ("float32", "bfloat16", "peft", "read"):
                    answer = worker.ask(word)
                    print(f"  {what}, {WORDS[word]}: {answer:.4g}", flush=True)
                    if number:
                        found.numbers[word].append(answer)
    return found


def _fastest_vllm(world: World, servers: Stage, command: list[str]) -> tuple[Process, list[str], dict[str, str]]:
    """A server, its options and its environment: the fastest of what is tried with 8 streams.

    Left to itself vLLM keeps one core for its front; told to, it computes on all. And left to itself it computes in the
    checkpoint's bfloat16, which processors without 16-bit arithmetic are slow at; so float32 is tried where cores were
    bound the better way.
    """
    tried: list[tuple[float, Process, list[str], dict[str, str]]] = []

    def attempt(bind: str, *options: str) -> None:
        environment = {"VLLM_CPU_KVCACHE_SPACE": "2", "PYTHONPATH": "", "VLLM_CPU_OMP_THREADS_BIND": bind}
        process = servers.start(f"vllm-{len(tried)}", [*command, *options], 300, **environment)
        where = address(process, ["base"])
        servers.only([process])
        measure(where, 8, 8, seed=1)
        rate = measure(where, 8, 24, seed=100).rate
        print(f"  vLLM {' '.join(options)} with VLLM_CPU_OMP_THREADS_BIND={bind}: {rate:.0f} tok/s", flush=True)
        tried.append((rate, process, list(options), environment))
        tried.sort(key=lambda one: one[0], reverse=True)

    for bind in ("auto", f"0-{world.threads - 1}" if world.threads > 1 else "0"):
        attempt(bind)
    attempt(tried[0][3]["VLLM_CPU_OMP_THREADS_BIND"], "--dtype", "float32")
    for _, slower, _, _ in tried[1:]:
        servers.processes.remove(slower)
        slower.end()
    return tried[0][1:]


class _Worker:
    """serving_parts/worker.py, asked a word at a time."""

    def __init__(self, world: World, servers: Stage) -> None:
        servers.only(())
        folders = [world.merged, world.base, *world.adapters[:4]]
        self.process = servers.spawn(
            "worker",
            [sys.executable, "-m", "serving_parts.worker", *map(str, folders)],
            talks=True,
            PYTHONPATH=str(Path(__file__).parents[1]),
            OMP_NUM_THREADS=str(world.threads),
        )
        self._read()

    def ask(self, word: str) -> float:
        assert self.process.child.stdin is not None
        self.process.child.stdin.write(word.encode() + b"\n")
        self.process.child.stdin.flush()
        return float(self._read())

    def _read(self) -> bytes:
        assert self.process.child.stdout is not None
        line = self.process.child.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the worker ended:\n{self.process.log.read_text()[-3000:]}")
        return line


def _our_figures(world: World, found: _Found) -> list[Figure]:
    ours, theirs = found.rates(MERGE, 8), found.generated()
    figures = [Figure("live merge / generate() of 8, 8", paired(ours, theirs), at_least=2.0, note=spread(ours, theirs))]
    floor = 1e3 * weights(world) * 4 / max(found.numbers["read"])
    for streams in STREAMS:
        step = found.step(MERGE, streams)
        note = f"{step:.2f} ms; to read the weights once takes {floor:.2f} ms in float32, {floor / 2:.2f} in 16 bits"
        figures.append(Figure(f"live merge: step / floor in float32, {streams}", step / floor, note=note))
    for streams, wanted in ((1, None), (8, 0.85), (32, 0.9)):
        merged = found.step(MERGE, streams)
        later = found.step(FOUR, streams) - merged
        figure = found.ratio("multi-LoRA of 4 / live merge", FOUR, MERGE, streams, wanted, f"step {later:+.2f} ms")
        if streams == 8 and later <= 1.0 and merged < NEAR * floor:
            note = f"{figure.note}: within 1 ms of a merge near its floor, the other way to meet it"
            figure = replace(figure, excused=True, note=note)
        figures.append(figure)
    for streams in STREAMS:
        name = f"multi-LoRA of 4 / live merge: TTFT P50, {streams}"
        ours, theirs = found.firsts(FOUR, streams), found.firsts(MERGE, streams)
        figures.append(Figure(name, paired(ours, theirs), at_most=1.15, note=spread(ours, theirs)))
    mixed = paired(found.rates(FOUR, 8), found.numbers["peft"])
    figures.append(Figure("multi-LoRA of 4 / PEFT's mixed batch of 8, 8", mixed))
    figures.append(found.ratio(f"multi-LoRA of {MANY} / of 4", SIXTY_FOUR, FOUR, 8, 0.9))
    return figures


def _document(found: _Found) -> dict[str, object]:
    document: dict[str, object] = {}
    print(f"{'':26}{'streams':>8}{'tok/s':>8}{'TTFT P50 ms':>13}{'ms a token':>12}")
    for (name, streams), turns in found.turns.items():
        rate = statistics.median(found.rates(name, streams))
        first = 1e3 * statistics.median(answer.first for turn in turns for answer in turn.answers)
        step = found.step(name, streams)
        print(f"{name:26}{streams:8}{rate:8.0f}{first:13.1f}{step:12.2f}")
        document[f"{name}, {streams}"] = {
            "tokens_per_second": round(rate, 1),
            "rounds": [round(rate, 1) for rate in found.rates(name, streams)],
            "time_to_first_token_p50_ms": round(first, 2),
            "step_p50_ms": round(step, 3),
        }
    for word, numbers in found.numbers.items():
        print(f"{WORDS[word]:34}{statistics.median(numbers):8.4g}")
        document[WORDS[word]] = [round(number, 1) for number in numbers]
    document["cores_taken_while_idle"] = found.idle
    return document


def weights(world: World) -> int:
    """How many numbers a step reads: all of the model but the embedding, of which it reads a row for each token."""
    from safetensors import safe_open

    count = 0
    for file in world.merged.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if "embed_tokens" not in name:
                    size = 1
                    for length in tensors.get_slice(name).get_shape():
                        size *= length
                    count += size
    return count
