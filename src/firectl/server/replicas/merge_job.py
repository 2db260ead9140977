"""How is an adapter merged into its base? One child process per pair of models; deployments share the result.

A folder under merged/ is complete or absent; its name identifies its content. Must not touch rows or import torch.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from firectl.errors import Code
from firectl.server.disk.merged import RECORD, Condition, condition, merged_key, proof, read_record
from firectl.server.lifecycle.observed import MergeView, backoff
from firectl.server.replicas import process
from firectl.server.replicas.process import child_environment, error_in

_WHOLE = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
_TRASH = ".trash-"
_OURS = re.compile(rf"{_WHOLE.pattern}|\..+\.partial|{re.escape(_TRASH)}.+")
"""The names that this file and `firectl.lora.merge` use. Anything else under merged/ is never removed."""
_STOP_GRACE = 5.0
_DAMAGED_WAIT = timedelta(seconds=2)


@dataclass(frozen=True)
class MergeInput:
    """A model to merge: its folder, and the hash (`sha256:<hex>`) of its `files`."""

    model: str
    folder: Path
    hash: str
    files: tuple[str, ...]

    def flags(self, what: str) -> list[str]:
        """Return the flags that make the merge refuse files with another hash. `what` is `base` or `adapter`."""
        return [f"--{what}-hash={self.hash}", *(f"--{what}-file={name}" for name in self.files)]


@dataclass(frozen=True)
class MergeInputs:
    """A base and the adapter to be merged into it."""

    base: MergeInput
    adapter: MergeInput

    @property
    def key(self) -> str:
        """Return the name of the merged folder."""
        return merged_key(self.base.hash, self.adapter.hash)


class MergeJobs:
    """Runs merges and removes merged folders. Failures are remembered per deployment.

    `changed` is called when the result of `view` changed. `suspect` is called with the names of both models when a
    merge found damaged files.
    """

    def __init__(
        self,
        home: Path,
        *,
        changed: Callable[[], None],
        suspect: Callable[[set[str]], None],
        now: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._root = home / "merged"
        self._changed = changed
        self._suspect = suspect
        self._now = now
        self._running: dict[str, _Job] = {}
        self._failed: dict[tuple[str, str], MergeView] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self._cleaning: set[asyncio.Task[None]] = set()

    def view(self, deployment: str, inputs: MergeInputs) -> MergeView:
        """Return the state of the merge that a deployment waits for. Removes the merged folder if that is useless."""
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
        """Begin to merge the two models, unless they are already being merged."""
        job = self._running.get(inputs.key)
        if job is None:
            job = self._running[inputs.key] = _Job()
            job.task = asyncio.create_task(self._run(inputs, job))
        job.wanted_by.add(deployment)

    def forget(self, keep: set[str]) -> None:
        """Forget the failures of deployments that are not in `keep`."""
        for known in [known for known in self._failed if known[0] not in keep]:
            del self._failed[known]

    def clean(self, in_use: set[str]) -> None:
        """Remove merged folders that are not `in_use` (their names), and the remains of killed merges."""
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
        """Remove a merged folder. It is merged again if a deployment needs it."""
        if (self._root / key).is_dir():
            self._discard(self._root / key)

    async def stop(self) -> None:
        """End every merge. The next start removes unfinished folders."""
        tasks = [job.task for job in self._running.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        for pending in (tasks, list(self._cleaning)):
            if pending:
                await asyncio.wait(pending)

    def _discard(self, path: Path) -> None:
        # Rename first: a partly removed folder must never look complete.
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
            error = MergeView(message=str(failure))
        finally:
            del self._running[inputs.key]
        for deployment in job.wanted_by:
            if error is None:
                self._failed.pop((deployment, inputs.key), None)
            else:
                before = self._failed.get((deployment, inputs.key), MergeView())
                # The user can repair damaged files at any time, so those failures do not count.
                count = before.failures + (not error.damaged)
                retry_at = self._now() + (_DAMAGED_WAIT if error.damaged else backoff(count))
                self._failed[deployment, inputs.key] = replace(error, failures=count, retry_at=retry_at)
        if error is not None and error.damaged:
            self._suspect({inputs.base.model, inputs.adapter.model})
        self._changed()

    async def _merge(self, inputs: MergeInputs, job: _Job) -> MergeView | None:
        """Run the merge in a child process. Return None on success, else the failure."""
        self._root.mkdir(parents=True, exist_ok=True)
        target = self._root / inputs.key
        argv = [sys.executable, "-P", "-m", "firectl.server.replicas.parent_watch", "firectl.lora.merge"]
        argv += [str(inputs.adapter.folder), str(inputs.base.folder), str(target)]
        argv += [*inputs.adapter.flags("adapter"), *inputs.base.flags("base")]
        child = await process.start(argv, self._home, child_environment(os.environ), PIPE)
        assert child.stdout is not None
        assert child.stderr is not None
        errors = asyncio.create_task(child.stderr.read())
        try:
            async for line in child.stdout:
                progress = _progress(line)
                if progress is not None and int(progress * 10) != int((job.progress or 0) * 10):
                    job.progress = progress
                    self._changed()
            returncode = await child.wait()
        except asyncio.CancelledError:
            await process.end(child, _STOP_GRACE)
            raise
        words = (await errors).decode("utf-8", "replace")
        if returncode == 0 and read_record(target) is not None:
            return None
        return _failure(returncode, words)


@dataclass
class _Job:
    wanted_by: set[str] = field(default_factory=set)
    progress: float | None = None
    task: asyncio.Task[None] | None = None


def _progress(line: bytes) -> float | None:
    """Return the completed share (0…1) that a line of the merge's output reports; None if it reports none."""
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


def _failure(returncode: int, words: str) -> MergeView:
    for line in reversed(words.splitlines()):
        if error := error_in(line):
            return MergeView(message=error.message, refused=returncode == 2, damaged=error.code is Code.DATA_LOSS)
    if returncode < 0:
        return MergeView(message=f"killed by signal {-returncode}")
    last = next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "")
    return MergeView(message=f"exit code {returncode}{': ' + last if last else ''}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
