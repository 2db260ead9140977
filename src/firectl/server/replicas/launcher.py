"""How is an engine process started, watched for its end and stopped? One entry in DRIVERS per kind of engine.

Must not know deployments or rows. A child holds the read end of a pipe whose other end only this process has, so that
it ends when the platform does, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firectl.errors import message_of

_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|^FIREWORKS_", re.IGNORECASE)
_LOG_KEPT = 5 << 20
_LOG_TAIL = 64 << 10
_JOURNAL = re.compile(r"^[\dT:.-]+Z INFO ")
_DIED_WITH = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit)\b.*")


@dataclass(frozen=True)
class EngineSpec:
    """What one replica runs: a Hugging Face folder under a served name, with room for `max_loras` adapters."""

    model: Path
    served_name: str
    enable_lora: bool = False
    max_loras: int = 64
    max_lora_rank: int = 64
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    dtype: str = "auto"
    threads: int = 1


@dataclass(frozen=True)
class Driver:
    """How a kind of engine is told what to do: its argv, and whether it ends by itself at the end of its stdin."""

    argv: Callable[[EngineSpec], Sequence[str]]


def _embedded(spec: EngineSpec) -> Sequence[str]:
    # -P: a file named like a library in the working folder must not be imported in its place.
    argv = [sys.executable, "-P", "-m", "firectl.engine", "--exit-with-stdin", "--log-events"]
    argv += ["--model", str(spec.model), "--served-model-name", spec.served_name]
    argv += ["--host", "127.0.0.1", "--port", "0", "--dtype", spec.dtype, "--threads", str(spec.threads)]
    if spec.enable_lora:
        argv += ["--enable-lora", "--max-loras", str(spec.max_loras), "--max-lora-rank", str(spec.max_lora_rank)]
    if spec.max_num_seqs is not None:
        argv += ["--max-num-seqs", str(spec.max_num_seqs)]
    if spec.max_model_len is not None:
        argv += ["--max-model-len", str(spec.max_model_len)]
    return argv


DRIVERS: Mapping[str, Driver] = {"embedded": Driver(_embedded)}


def child_environment(environ: Mapping[str, str], **extra: str) -> dict[str, str]:
    """The environment for a child: everything but what looks like a secret, plus `extra`."""
    kept = {name: value for name, value in environ.items() if not _SECRET_NAMES.search(name)}
    if "PYTHONPATH" in kept:
        # Children run in another folder.
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, kept["PYTHONPATH"].split(os.pathsep)))
    kept |= {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return kept | extra


@dataclass(frozen=True)
class Ended:
    """How a process ended: `reported` is what the engine itself said was wrong, if it did."""

    returncode: int
    reported: str | None
    last_words: str | None

    def describe(self) -> str:
        """`killed by signal 9`, `exit code 1: <last line of its log>`."""
        if self.returncode < 0:
            return f"killed by signal {-self.returncode}"
        words = f": {self.last_words}" if self.last_words else ""
        return f"exit code {self.returncode}{words}"


class EngineProcess:
    """A running engine: its port once it listens, its own key, and the end of it."""

    def __init__(self, process: asyncio.subprocess.Process, key: str, log: Path, log_start: int) -> None:
        self.key = key
        self.pid = process.pid
        self.ended: asyncio.Task[Ended] = asyncio.create_task(self._wait())
        self._process = process
        self._log = log
        self._log_start = log_start

    async def port(self) -> int | None:
        """The port that the engine listens on, as it says on its first line; None when it ends before that."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        self._drain = asyncio.create_task(self._discard(self._process.stdout))
        if not line:
            return None
        try:
            port = json.loads(line)["port"]
        except (ValueError, KeyError, TypeError):
            return None
        return port if isinstance(port, int) else None

    async def stop(self, grace: float) -> Ended:
        """End it: asked first, made to after `grace` seconds. Its whole process group goes."""
        # Its stdin stays open meanwhile: the end of that would end it at once, in the middle of its last answers.
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=grace)
        if not done:
            self._signal(signal.SIGKILL)
        return await asyncio.shield(self.ended)

    def kill(self) -> None:
        """End it now, for one that no longer answers."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # A process that was not waited for keeps its number, so this cannot hit a stranger.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    @staticmethod
    async def _discard(stream: asyncio.StreamReader) -> None:
        while await stream.read(4096):
            pass

    async def _wait(self) -> Ended:
        returncode = await self._process.wait()
        reported, last = read_log_end(self._log, self._log_start)
        return Ended(returncode, reported, last)


async def launch(driver: Driver, spec: EngineSpec, log: Path, cwd: Path) -> EngineProcess:
    """Start an engine as the head of its own process group, its stderr appended to `log`. OSError when it cannot."""
    key = secrets.token_urlsafe(32)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_KEPT:
        log.replace(log.with_suffix(".log.1"))
    environment = child_environment(
        os.environ, VLLM_API_KEY=key, OMP_NUM_THREADS=str(spec.threads), MKL_NUM_THREADS=str(spec.threads)
    )
    with open(log, "ab", opener=_private) as stderr:
        start = stderr.tell()
        process = await asyncio.create_subprocess_exec(
            *driver.argv(spec),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
    return EngineProcess(process, key, log, start)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_log_end(log: Path, start: int) -> tuple[str | None, str | None]:
    """What a log that began at byte `start` ends with: the engine's own `{"error": …}` message, and an error line."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _LOG_TAIL))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if not _JOURNAL.match(line)]
    except OSError:
        return None, None
    reported = next((message for line in reversed(lines) if (message := error_message(line))), None)
    last = next((line.strip() for line in reversed(lines) if _DIED_WITH.match(line)), None)
    last = last or next((line.strip() for line in reversed(lines) if line.strip()), None)
    return reported, last


def error_message(line: str) -> str | None:
    """The message of a line that is an `{"error": …}` document, as our processes print before they fail."""
    if not line.startswith("{"):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return message_of(document) if "error" in document else None
