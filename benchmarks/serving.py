"""How fast is the embedded engine: live merge and multi-LoRA, beside vLLM and transformers' generate().

    OMP_NUM_THREADS=2 python benchmarks/serving.py [--vllm-python PATH] [--rounds N] [--json FILE]

One run measures everything, in rounds that take turns, so that a busy minute of the machine falls on all. The model is
a random Llama of 8 layers (hidden 512, bfloat16); prompts have 200 characters, answers 64 tokens, whatever they are.
Without --vllm-python vLLM is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

TOKENS = 64
STREAMS = (1, 8, 32)
ADAPTERS = 64
FLOOR_MS = 2.5
"""What reading the weights once takes on the machine that docs/engine.md speaks of."""

GENERATE = """
import sys, time, torch
from transformers import AutoModelForCausalLM
best = 0.0
ids = torch.randint(32, 126, (8, 200))
for dtype in (torch.float32, torch.bfloat16):
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=dtype)
    for _ in range(2):
        start = time.perf_counter()
        mask = torch.ones_like(ids)
        model.generate(ids, attention_mask=mask, max_new_tokens=64, min_new_tokens=64, do_sample=False, pad_token_id=0)
        best = max(best, 8 * 64 / (time.perf_counter() - start))
print(best)
"""


@dataclass
class Server:
    """Something that listens: what to ask it for, and what came of it by number of streams."""

    name: str
    port: int
    models: Sequence[str]
    streams: Sequence[int] = STREAMS
    rates: dict[int, list[float]] = field(default_factory=dict)
    firsts: dict[int, list[float]] = field(default_factory=dict)
    gaps: dict[int, list[float]] = field(default_factory=dict)


async def ask(server: Server, model: str, seed: int) -> tuple[float, list[float]]:
    """Seconds to the first token of one streamed answer, and between those after it."""
    source = random.Random(seed)
    prompt = "".join(chr(source.randrange(32, 126)) for _ in range(200))
    fields = {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}
    body = json.dumps(fields | {"ignore_eos": True, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    start = time.perf_counter()
    writer.write(head.encode() + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body)
    times = []
    async for line in reader:
        if line.startswith(b"data: {"):
            if b'"error"' in line:
                raise RuntimeError(f"{server.name}: {line!r}")
            times.append(time.perf_counter())
    writer.close()
    if not times:
        raise RuntimeError(f"{server.name} gave no answer")
    return times[0] - start, [later - sooner for sooner, later in pairwise(times)]


async def measure(server: Server, streams: int, requests: int, seed: int) -> None:
    queue = iter(range(requests))
    firsts, gaps = server.firsts.setdefault(streams, []), server.gaps.setdefault(streams, [])

    async def stream() -> None:
        for number in queue:
            first, between = await ask(server, server.models[number % len(server.models)], seed + number)
            firsts.append(first)
            gaps.extend(between)

    start = time.perf_counter()
    await asyncio.gather(*(stream() for _ in range(streams)))
    server.rates.setdefault(streams, []).append(requests * TOKENS / (time.perf_counter() - start))


def make(home: Path) -> tuple[Path, Path, list[Path]]:
    """The base, a merged model, and the adapters."""
    import torch
    from safetensors.torch import load_file, save_file

    from firectl.lora.merge import merge
    from tests.tiny import make_adapter, make_base

    sizes = {"layers": 8, "hidden": 512, "heads": 8, "kv_heads": 4, "intermediate": 1536, "vocab": 320}
    base = make_base(home / "base", dtype="bfloat16", max_positions=2048, **sizes)  # type: ignore[arg-type]
    first = make_adapter(home / "a0", base, r=16, alpha=32)
    adapters = [first]
    tensors = load_file(first / "adapter_model.safetensors")
    for number in range(1, ADAPTERS):
        folder = home / f"a{number}"
        shutil.copytree(first, folder)
        torch.manual_seed(number)
        others = {name: (torch.randn_like(tensor) * tensor.std()).contiguous() for name, tensor in tensors.items()}
        save_file(others, folder / "adapter_model.safetensors", {"format": "pt"})
        adapters.append(folder)
    merge(first, base, home / "merged")
    return base, home / "merged", adapters


@contextlib.contextmanager
def process(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def wait_ready(port: int, child: subprocess.Popen[bytes], seconds: float) -> None:
    import httpx

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError("a server did not start; its log is beside the models")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm-python", help="python of an environment with vLLM for CPUs")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        report = run(given, Path(folder), running)
    print(json.dumps(report, indent=2))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


def run(given: argparse.Namespace, home: Path, running: contextlib.ExitStack) -> dict[str, Any]:
    base, merged, adapters = make(home)
    servers: list[Server] = []

    def start(name: str, models: Sequence[str], command: Sequence[str], patience: float, **environment: str) -> Server:
        server = Server(name, free_port(), models)
        child = running.enter_context(
            process([*command, "--port", str(server.port)], home / f"{name}.log", **environment)
        )
        try:
            wait_ready(server.port, child, patience)
        except RuntimeError:
            print((home / f"{name}.log").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        servers.append(server)
        return server

    ours = [sys.executable, "-m", "firectl.engine.embedded", "--threads", str(given.threads)]
    names = [adapter.name for adapter in adapters]
    start("live merge", ["base"], [*ours, "--model", str(merged), "--served-model-name", "base"], 60)
    lora = [*ours, "--model", str(base), "--served-model-name", "base", "--enable-lora"]
    many = start("multi-LoRA, 64 adapters", names, lora, 60)
    many.streams = (8,)
    load_adapters(many.port, adapters)
    servers.append(Server("multi-LoRA, 4 adapters", many.port, names[:4]))
    if given.vllm_python:
        vllm = [given.vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--max-model-len", "1024"]
        vllm += ["--served-model-name", "base", "--model"]
        space = {"VLLM_CPU_KVCACHE_SPACE": "2", "PYTHONPATH": ""}
        start("vLLM, merged", ["base"], [*vllm, str(merged)], 300, **space)
        modules = [f"{adapter.name}={adapter}" for adapter in adapters[:4]]
        options = ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "16", "--lora-modules", *modules]
        start("vLLM, 4 adapters", names[:4], [*vllm, str(base), *options], 300, **space)
    else:
        print("vLLM is left out: no --vllm-python", file=sys.stderr)
    for number in range(given.rounds + 1):
        for server in servers:
            for streams in server.streams:
                requests = {1: 4, 8: 24, 32: 64}[streams] if number else streams
                asyncio.run(measure(server, streams, requests, number * 100_000 + streams * 1_000))
        if number == 0:  # that was to warm up
            for server in servers:
                server.rates, server.firsts, server.gaps = {}, {}, {}
    generated = subprocess.run(
        [sys.executable, "-c", GENERATE, str(merged)], capture_output=True, text=True, check=True
    )
    return tell(servers, float(generated.stdout.split()[-1]))


def load_adapters(port: int, adapters: Sequence[Path]) -> None:
    import httpx

    for adapter in adapters:
        body = {"lora_name": adapter.name, "lora_path": str(adapter)}
        httpx.post(f"http://127.0.0.1:{port}/v1/load_lora_adapter", json=body, timeout=60).raise_for_status()


def tell(servers: Sequence[Server], generated: float) -> dict[str, Any]:
    """A table on stdout; the same as a document."""
    document: dict[str, Any] = {"generate() in a batch of 8": {"8": {"tokens_per_second": round(generated)}}}
    print(f"{'':26}{'streams':>8}{'tok/s':>8}{'TTFT P50 ms':>13}{'step P50 ms':>13}{'over floor':>12}")
    for server in servers:
        for streams in server.streams:
            rate = statistics.median(server.rates[streams])
            first = 1e3 * statistics.median(server.firsts[streams])
            step = 1e3 * statistics.median(server.gaps[streams])
            print(f"{server.name:26}{streams:8}{rate:8.0f}{first:13.1f}{step:13.2f}{step / FLOOR_MS:11.1f}x")
            document.setdefault(server.name, {})[str(streams)] = {
                "tokens_per_second": round(rate, 1),
                "time_to_first_token_p50_ms": round(first, 1),
                "step_p50_ms": round(step, 2),
            }
    print(f"{'generate() in a batch of 8':26}{8:8}{generated:8.0f}")
    return document


if __name__ == "__main__":
    main()
