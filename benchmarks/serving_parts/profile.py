"""Where does a step's time go? The engine in this process, without HTTP: its steps timed, then taken apart by torch.

    python -m serving_parts.profile BASE THREADS [ADAPTER ...]

A process of its own, started by serving.py, because threads are set before torch is imported. Prints one line of JSON,
`{"1 row, base": {"ms": ..., "products": ..., ...}, ...}`: milliseconds of the median step, and shares of the time that
operators took.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving_parts.goals import Figure
from serving_parts.load import TOKENS, prompt
from serving_parts.world import World

ROWS = (1, 8, 32)
PROMPTS = 8
"""Read one after the other, alone."""
PARTS = {
    "products": ("quantized::", "mkldnn::", "aten::linear"),
    "attention": ("aten::bmm", "aten::_softmax", "aten::index_copy_", "aten::_scaled_dot_product"),
    "adapters": ("aten::baddbmm", "aten::addmm", "aten::mm"),
}
"""What operators count as; the rest is `others`. Where several adapters shrink rows at once, that is a bmm, too."""


def run(world: World) -> tuple[list[Figure], dict[str, object]]:
    """No goal: what the goals that are missed are explained with."""
    folders = [world.base, *world.adapters[:4]]
    words = [str(folders[0]), str(world.threads), *map(str, folders[1:])]
    command = [sys.executable, "-m", "serving_parts.profile", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    print(f"{'step':28}{'ms':>8}" + "".join(f"{part:>12}" for part in (*PARTS, "others")))
    for name, row in found.items():
        print(f"{name:28}{row['ms']:8.2f}" + "".join(f"{row[part]:12.0%}" for part in (*PARTS, "others")))
    return [], {"profile": found}


def main(base: str, threads: str, *adapters: str) -> None:
    from firectl.engine.__main__ import _set_threads

    _set_threads(int(threads))
    from firectl.engine.adapters.read import AdapterReader
    from firectl.engine.engine import Engine, StepResult
    from firectl.engine.http.prompts import completion_sequences
    from firectl.engine.load import load
    from firectl.engine.options import EngineOptions
    from firectl.schemas.openai import parse_completion

    options = EngineOptions(model=Path(base), served_model_name="base", threads=int(threads))
    loaded = load(options)
    reader = AdapterReader(loaded, 64)
    read = [reader.read(Path(folder).name, reader.find(Path(folder))) for folder in adapters]
    watch = _Watch(loaded.runner)
    ended = threading.Semaphore(0)

    def publish(batch: list[StepResult]) -> None:
        for progress in batch:
            if progress.last:
                ended.release()

    engine = Engine(loaded, options, publish)
    engine.start()
    found: dict[str, dict[str, float]] = {}
    for rows in ROWS:
        for what, bound in (("base", [None]), (f"{len(read)} adapters", read)):
            for number, watch.profiled in enumerate((False, False, True)):
                watch.steps.clear()
                for turn in range(PROMPTS if rows == 1 else 1):
                    for place in range(rows):
                        text = prompt(10_000 * rows + 1000 * number + 100 * turn + place)
                        asked: dict[str, object] = {"model": "base", "prompt": text}
                        asked |= {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
                        adapter = bound[(turn + place) % len(bound)]
                        engine.submit(completion_sequences(loaded, parse_completion(asked), adapter))
                    for _ in range(rows):
                        ended.acquire()
                kinds = {f"{rows} generating, {what}": (rows, rows)}
                if rows == 1:
                    kinds[f"a prompt of 200, {what}"] = (200, 1)
                for name, kind in kinds.items():
                    steps = [(seconds, operators) for shape, seconds, operators in watch.steps if shape == kind]
                    if number == 1:
                        found[name] = {"ms": 1e3 * statistics.median(seconds for seconds, _ in steps)}
                    elif number == 2:
                        found[name] |= _shares([operators for _, operators in steps])
    engine.stop()
    print(json.dumps(found))


class _Watch:
    """Stands in front of a runner's `forward`. `steps`: (rows, sequences), seconds, microseconds by operator."""

    def __init__(self, runner: Any) -> None:
        self.profiled = False
        self.steps: list[tuple[tuple[int, int], float, Mapping[str, float]]] = []
        self._forward = runner.forward
        runner.forward = self.forward

    def forward(self, chunks: Any, operations: Any = ()) -> Any:
        from torch.profiler import ProfilerActivity, profile

        shape = sum(chunk.count for chunk in chunks), len(chunks)
        operators: dict[str, float] = {}
        started = time.perf_counter()
        if self.profiled:
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                result = self._forward(chunks, operations)
            operators = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
        else:
            result = self._forward(chunks, operations)
        self.steps.append((shape, time.perf_counter() - started, operators))
        return result


def _shares(steps: list[Mapping[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for operators in steps:
        for name, spent in operators.items():
            part = next((part for part, names in PARTS.items() if name.startswith(names)), "others")
            sums[part] += spent
    whole = sum(sums.values()) or 1.0
    return {part: sums[part] / whole for part in (*PARTS, "others")}


if __name__ == "__main__":
    main(*sys.argv[1:])
