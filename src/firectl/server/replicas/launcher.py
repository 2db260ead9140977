"""How is an engine started, with which flags, and what do its port line and its log say? One DRIVERS entry per engine.

No other file has the flags of an engine. Must not use deployments or rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firectl.server.replicas import process
from firectl.server.replicas.process import child_environment, error_in

MAX_LORA_RANK = 64
_LOG_KEPT = 5 << 20
_LOG_TAIL = 64 << 10
_EVENT = re.compile(r"^[\dT:.-]+Z INFO ")
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit)\b.*")


@dataclass(frozen=True)
class EngineSpec:
    """What one engine runs: the Hugging Face folder `model` as `served_name`, with up to `max_loras` adapters."""

    model: Path
    served_name: str
    enable_lora: bool
    max_loras: int
    max_num_seqs: int | None
    max_model_len: int | None
    threads: int


@dataclass(frozen=True)
class Driver:
    """How to start one kind of engine."""

    argv: Callable[[EngineSpec], Sequence[str]]


def _embedded(spec: EngineSpec) -> Sequence[str]:
    # -P: a file in the working folder that is named like a library must not be imported instead of the library.
    argv = [sys.executable, "-P", "-m", "firectl.engine", "--exit-with-stdin", "--log-events"]
    argv += ["--model", str(spec.model), "--served-model-name", spec.served_name]
    argv += ["--host", "127.0.0.1", "--port", "0", "--threads", str(spec.threads)]
    if spec.enable_lora:
        argv += ["--enable-lora", "--max-loras", str(spec.max_loras), "--max-lora-rank", str(MAX_LORA_RANK)]
    if spec.max_num_seqs is not None:
        argv += ["--max-num-seqs", str(spec.max_num_seqs)]
    if spec.max_model_len is not None:
        argv += ["--max-model-len", str(spec.max_model_len)]
    return argv


DRIVERS: Mapping[str, Driver] = {"embedded": Driver(_embedded)}


@dataclass(frozen=True)
class Ended:
    """How a process ended. `reported` is the error that the engine itself reported, `last_words` its last log line."""

    returncode: int
    reported: str | None
    last_words: str | None

    def describe(self) -> str:
        """Describe the end in words: `killed by signal 9` or `exit code 1: <last words>`."""
        if self.returncode < 0:
            return f"killed by signal {-self.returncode}"
        words = f": {self.last_words}" if self.last_words else ""
        return f"exit code {self.returncode}{words}"


class EngineProcess:
    """A running engine and its API key. The task `ended` returns how the engine ended."""

    def __init__(self, child: asyncio.subprocess.Process, key: str, log: Path, log_start: int) -> None:
        self.key = key
        self.pid = child.pid
        self.ended: asyncio.Task[Ended] = asyncio.create_task(self._wait())
        self._child = child
        self._log = log
        self._log_start = log_start

    async def port(self) -> int | None:
        """Wait for the port, which the engine prints on its first line once it listens; None if that has no port."""
        assert self._child.stdout is not None
        line = await self._child.stdout.readline()
        self._drain = asyncio.create_task(self._discard(self._child.stdout))
        try:
            port = json.loads(line)["port"]
        except (ValueError, KeyError, TypeError):
            return None
        return port if isinstance(port, int) else None

    async def stop(self, grace: float) -> None:
        """End the engine's process group: SIGTERM, then SIGKILL after `grace` seconds."""
        # Keep the engine's stdin open: if closed, the engine would end at once, in the middle of its last answers.
        await process.end(self._child, grace)

    def kill(self) -> None:
        """Kill the engine's process group at once."""
        process.signal_group(self._child, signal.SIGKILL)

    @staticmethod
    async def _discard(stream: asyncio.StreamReader) -> None:
        while await stream.read(4096):
            pass

    async def _wait(self) -> Ended:
        returncode = await self._child.wait()
        return Ended(returncode, *read_log_end(self._log, self._log_start))


async def launch(driver: Driver, spec: EngineSpec, log: Path, cwd: Path) -> EngineProcess:
    """Start an engine with its stderr appended to `log`. Raises OSError if the engine cannot be started."""
    key = secrets.token_urlsafe(32)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_KEPT:
        log.replace(log.with_suffix(".log.1"))
    threads = str(spec.threads)
    environment = child_environment(os.environ, VLLM_API_KEY=key, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    with open(log, "ab", opener=_private) as stderr:
        start = stderr.tell()
        child = await process.start(driver.argv(spec), cwd, environment, stderr)
    return EngineProcess(child, key, log, start)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_log_end(log: Path, start: int) -> tuple[str | None, str | None]:
    """Return (last `{"error": …}` message, last error line or else last line) of a log from byte `start` on.

    Lines that our engine logs in normal operation are skipped.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _LOG_TAIL))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if not _EVENT.match(line)]
    except OSError:
        return None, None
    reported = next((error.message for line in reversed(lines) if (error := error_in(line))), None)
    last = next((line.strip() for line in reversed(lines) if _ERROR.match(line)), None)
    return reported, last or next((line.strip() for line in reversed(lines) if line.strip()), None)
