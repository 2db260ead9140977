"""What the parts measure with: models, adapters, processes; and whose turn it is to run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from serving_parts.load import Address

SIZES = {"layers": 8, "hidden": 512, "heads": 8, "kv_heads": 4, "intermediate": 1536, "vocab": 320}
MANY = 64
LOADED, IN_MEMORY = 256, 32


@dataclass
class World:
    """One run: where its files are, and what it was told."""

    home: Path
    threads: int
    rounds: int
    vllm_python: str | None
    base: Path
    merged: Path
    adapters: list[Path]
    """Of each another change of the same size; LOADED of them."""


def make_world(home: Path, threads: int, rounds: int, vllm_python: str | None) -> World:
    import torch
    from safetensors.torch import load_file, save_file

    from firectl.lora.merge.merge import merge
    from tests.tiny import make_adapter, make_base

    base = make_base(home / "base", dtype="bfloat16", max_positions=2048, **SIZES)  # type: ignore[arg-type]
    first = make_adapter(home / "a0", base, r=16, alpha=32, dtype="bfloat16")
    adapters = [first]
    tensors = load_file(first / "adapter_model.safetensors")
    for number in range(1, LOADED):
        folder = home / f"a{number}"
        folder.mkdir()
        (folder / "adapter_config.json").write_bytes((first / "adapter_config.json").read_bytes())
        # Rolled, not drawn again: as different, and 256 of them are written in seconds.
        others = {name: torch.roll(tensor, number, -1).contiguous() for name, tensor in tensors.items()}
        save_file(others, folder / "adapter_model.safetensors", {"format": "pt"})
        adapters.append(folder)
    merge(first, base, home / "merged")
    return World(home, threads, rounds, vllm_python, base, home / "merged", adapters)


class Process:
    """A server in a session of its own; `pause` and `go` are for all of that session."""

    def __init__(self, name: str, child: subprocess.Popen[bytes], log: Path, port: int = 0) -> None:
        self.name = name
        self.child = child
        self.log = log
        self.port = port

    def wait_ready(self, seconds: float) -> None:
        import httpx

        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.child.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).status_code == 200:
                    return
            time.sleep(0.2)
        tail = self.log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{self.name} did not start:\n{tail}")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go(self) -> None:
        self._signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return sum(cpu.user + cpu.system for cpu in (process.cpu_times() for process in family(self.child.pid)))

    def end(self) -> None:
        self.go()
        self._signal(signal.SIGTERM)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.child.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Stage:
    """The servers of a part. One runs at a time: the others are stopped, for a server that waits may spin."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.processes: list[Process] = []

    def start(self, name: str, command: Sequence[str], patience: float = 60, **environment: str) -> Process:
        self.only(())
        port = free_port()
        process = self.spawn(name, [*command, "--port", str(port)], talks=False, **environment)
        process.port = port
        process.wait_ready(patience)
        return process

    def spawn(self, name: str, command: Sequence[str], *, talks: bool = False, **environment: str) -> Process:
        """A process of this stage; one that `talks` has its stdin and stdout to the benchmark."""
        log = self.world.home / f"{name}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        process = Process(name, child, log)
        self.processes.append(process)
        return process

    def engine(self, name: str, model: Path, *options: str, adapters: Sequence[Path] = ()) -> Process:
        """An engine of ours; it answers to `base`, and to the names of the adapters' folders."""
        command = [sys.executable, "-m", "firectl.engine", "--threads", str(self.world.threads)]
        command += ["--model", str(model), "--served-model-name", "base", *options]
        if adapters:
            command += ["--enable-lora"]
        process = self.start(name, command)
        load_adapters(process.port, adapters)
        return process

    def only(self, running: Iterable[Process]) -> None:
        wanted = list(running)
        for process in self.processes:
            if process in wanted:
                process.go()
            else:
                process.pause()

    def idle_share(self, process: Process, seconds: float = 1.5) -> float:
        """How much of a core it takes while nobody asks it for anything."""
        self.only([process])
        time.sleep(0.5)
        before = process.cpu_seconds()
        time.sleep(seconds)
        return (process.cpu_seconds() - before) / seconds

    def close(self) -> None:
        for process in self.processes:
            process.end()
        self.processes.clear()


@contextlib.contextmanager
def stage(world: World) -> Iterator[Stage]:
    found = Stage(world)
    try:
        yield found
    finally:
        found.close()


def address(process: Process, models: Sequence[str]) -> Address:
    return Address(process.port, models)


def load_adapters(port: int, adapters: Sequence[Path]) -> None:
    import httpx

    for adapter in adapters:
        body = {"lora_name": adapter.name, "lora_path": str(adapter)}
        httpx.post(f"http://127.0.0.1:{port}/v1/load_lora_adapter", json=body, timeout=60).raise_for_status()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
