"""How is an adapter merged into its base: one child process per pair of contents, its result shared by all who want it.

A folder under merged/ is whole or absent; its name says what is in it. Must not touch rows, nor import torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from firectl.errors import Code
from firectl.server.disk.merged import RECORD, Condition, condition, merged_key, proof, read_record
from firectl.server.lifecycle.observed import MergeView, backoff
from firectl.server.replicas.launcher import child_environment, error_message

_WHOLE = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
_TRASH = ".trash-"
_OURS = re.compile(rf"{_WHOLE.pattern}|\..+\.partial|{re.escape(_TRASH)}.+")
"""Names that this module and `firectl.lora.merge` give. Anything else under merged/ is left alone."""
_LINE_LIMIT = 1 << 20
_DAMAGED_WAIT = timedelta(seconds=2)


@dataclass(frozen=True)
class MergeInput:
    """A model's folder, and the hash (`sha256:<hex>`) of the files in it that are the model."""

    model: str
    folder: Path
    hash: str
    files: tuple[str, ...]

    def flags(self, what: str) -> list[str]:
        """What tells a merge to refuse other contents."""
        return [f"--{what}-hash={self.hash}", *(f"--{what}-file={name}" for name in self.files)]


@dataclass(frozen=True)
class MergeInputs:
    """What is merged into what."""

    base: MergeInput
    adapter: MergeInput

    @property
    def key(self) -> str:
        """The merged folder's name."""
        return merged_key(self.base.hash, self.adapter.hash)


class MergeJobs:
    """`changed` is called when what `view` says changed, `suspect` with the names of two models when a merge found that
    their files are not what they should be. Failures are told per deployment.
    """

    def __init__(
        self,
        home: Path,
        *,
        changed: Callable[[], None],
        suspect: Callable[[set[str]], None],
        now: Callable[[], datetime],
        stop_grace: float = 5.0,
    ) -> None:
        self._home = home
        self._root = home / "merged"
        self._changed = changed
        self._suspect = suspect
        self._now = now
        self._stop_grace = stop_grace
        self._running: dict[str, _Job] = {}
        self._failed: dict[tuple[str, str], MergeView] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self._cleaning: set[asyncio.Task[None]] = set()

    def view(self, deployment: str, inputs: MergeInputs) -> MergeView:
        """How far the merge that a deployment waits for is."""
        job = self._running.get(inputs.key)
        if job is not None:
            job.wanted_by.add(deployment)
            return MergeView(running=True, progress=job.progress)
        folder = self._root / inputs.key
        found = condition(folder)
        if found is Condition.TOUCHED:
            return MergeView(unknown=True)
        if found is Condition.WHOLE and (record := read_record(folder)) is not None:
            return MergeView(folder=f"merged/{inputs.key}", record=proof(record))
        if found is Condition.USELESS:
            self._discard(folder)
        return self._failed.get((deployment, inputs.key), MergeView())

    def start(self, deployment: str, inputs: MergeInputs) -> None:
        """Merge, unless that pair is being merged already."""
        job = self._running.get(inputs.key)
        if job is None:
            job = self._running[inputs.key] = _Job(set())
            job.task = asyncio.create_task(self._run(inputs, job))
        job.wanted_by.add(deployment)

    def forget(self, keep: set[str]) -> None:
        """Drop what is remembered of deployments not in `keep`."""
        for known in [known for known in self._failed if known[0] not in keep]:
            del self._failed[known]

    def clean(self, in_use: set[str]) -> None:
        """Remove merges that no deployment uses, and what a killed merge left behind. `in_use`: folder names."""
        if not self._root.is_dir():
            return
        for entry in os.scandir(self._root):
            if not _OURS.fullmatch(entry.name):
                continue
            whole = _WHOLE.fullmatch(entry.name) and (Path(entry.path) / RECORD).is_file()
            if self._running and not whole and not entry.name.startswith(_TRASH):
                continue
            if whole and (entry.name in in_use or entry.name in self._running):
                continue
            self._discard(Path(entry.path))

    def discard(self, key: str) -> None:
        """Remove a merged folder: it will be made again where it is needed."""
        if (self._root / key).is_dir():
            self._discard(self._root / key)

    async def stop(self) -> None:
        """End every merge; what they had not finished is removed at the next start."""
        tasks = [job.task for job in self._running.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        for pending in (tasks, list(self._cleaning)):
            if pending:
                await asyncio.wait(pending)

    def _discard(self, path: Path) -> None:
        # Renamed first: a folder that is half removed must never be taken for a whole one.
        if not path.name.startswith(_TRASH):
            trash = path.with_name(f"{_TRASH}{secrets.token_hex(4)}")
            path.rename(trash)
            path = trash
        task = asyncio.create_task(asyncio.to_thread(_remove, path))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _run(self, inputs: MergeInputs, job: _Job) -> None:
        try:
            async with self._one_at_a_time:
                error = await self._merge(inputs, job)
        except OSError as failure:
            error = _Failure(str(failure))
        finally:
            del self._running[inputs.key]
        for deployment in job.wanted_by:
            if error is None:
                self._failed.pop((deployment, inputs.key), None)
            else:
                before = self._failed.get((deployment, inputs.key), MergeView())
                # Damaged files come right when somebody puts the right ones back: no number of tries is enough.
                count = before.failures + (not error.damaged)
                self._failed[deployment, inputs.key] = MergeView(
                    failures=count,
                    refused=error.refused,
                    message=error.message,
                    retry_at=self._now() + (_DAMAGED_WAIT if error.damaged else backoff(count)),
                    damaged=error.damaged,
                )
        if error is not None and error.damaged:
            self._suspect({inputs.base.model, inputs.adapter.model})
        self._changed()

    async def _merge(self, inputs: MergeInputs, job: _Job) -> _Failure | None:
        self._root.mkdir(parents=True, exist_ok=True)
        target = self._root / inputs.key
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "firectl.server.replicas.tether", "firectl.lora.merge"),
            *(str(inputs.adapter.folder), str(inputs.base.folder), str(target)),
            *(*inputs.adapter.flags("adapter"), *inputs.base.flags("base")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            cwd=self._home,
            env=child_environment(os.environ),
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(process.stderr.read())
        try:
            async for line in process.stdout:
                progress = _progress(line)
                if progress is not None and int(progress * 10) != int((job.progress or 0) * 10):
                    job.progress = progress
                    self._changed()
            returncode = await process.wait()
        except asyncio.CancelledError:
            await self._end(process)
            raise
        words = (await errors).decode("utf-8", "replace")
        if returncode == 0 and read_record(target) is not None:
            return None
        return _failure(returncode, words)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._stop_grace):
                    await process.wait()
                    return


@dataclass
class _Job:
    wanted_by: set[str]
    progress: float | None = None
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class _Failure:
    message: str
    refused: bool = False
    damaged: bool = False


def _progress(line: bytes) -> float | None:
    """The share done that a line of the merge's output tells, 0…1."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    done, total = document.get("done"), document.get("total")
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        return min(1.0, max(0.0, done / total))
    return None


def _failure(returncode: int, words: str) -> _Failure:
    for line in reversed(words.splitlines()):
        if message := error_message(line):
            damaged = json.loads(line)["error"].get("code") == Code.DATA_LOSS.number
            return _Failure(message, refused=returncode == 2, damaged=damaged)
    if returncode < 0:
        return _Failure(f"killed by signal {-returncode}")
    last = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "")
    return _Failure(f"exit code {returncode}{': ' + last if last else ''}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
