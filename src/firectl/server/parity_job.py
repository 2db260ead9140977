"""How do a deployed adapter's answers compare with its base's? Measured once, in the background, kept with the row.

One child process at a time, when the platform has had nothing to do for a while, and it ends when there is: whoever
sends a request or creates a deployment waits for nothing. Must not change what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from firectl.errors import message_of
from firectl.schemas import deployed_model as loads
from firectl.schemas import deployment as states
from firectl.schemas import model as models
from firectl.schemas.parity import Parity, ParityComparison
from firectl.server import hot_reload
from firectl.server.activity import Activity
from firectl.server.launcher import child_environment
from firectl.server.rows import DeployedModelRow, DeploymentRow
from firectl.server.store import Store, Tx

log = logging.getLogger(__name__)

LARGEST = 1 << 30
"""Bytes of a base's weights up to which it is measured unasked: it is loaded in full beside what serves."""
LONGEST = 300.0
"""Seconds after which a measurement is given up."""
_LOOK = 0.5
"""Seconds between two looks at whether something else is to be done."""
_NO_REPORT = "the measurement ended without a report"
_BUSY = (states.CREATING, states.UPDATING, states.DELETING)


@dataclass(frozen=True)
class Subject:
    """What is measured: an adapter on a base, and where the two are merged already. `name` is the row's that asked."""

    name: str
    model: str
    adapter: Path
    base: Path
    merged: Path | None
    bound: str | None
    """What must still be so when the figures are there: the folder served, or the hash loaded."""


class ParityJobs:
    """`largest` 0: nothing is measured. `settle`: seconds of nothing to do before a measurement begins."""

    def __init__(
        self,
        store: Store,
        home: Path,
        activity: Activity,
        now: Callable[[], datetime],
        *,
        largest: int = LARGEST,
        settle: float = 20.0,
    ) -> None:
        self._store = store
        self._home = home
        self._activity = activity
        self._now = now
        self._largest = largest
        self._settle = settle

    async def run(self) -> None:
        """Measure what is to be measured, for ever; cancelled, it takes its child along."""
        if not self._largest:
            return
        quiet = 0.0
        while True:
            await asyncio.sleep(max(_LOOK, self._settle / 4))
            try:
                subject, busy = await asyncio.to_thread(self._look)
                loop = asyncio.get_running_loop()
                if subject is None or busy:
                    quiet = 0.0
                elif not quiet:
                    quiet = loop.time()
                elif loop.time() - quiet >= self._settle:
                    quiet = 0.0
                    await self._measure(subject)
            except Exception:
                log.exception("measuring parity")

    def _look(self) -> tuple[Subject | None, bool]:
        """(what is to be measured next, whether there is something better to do)."""
        with self._store.read() as tx:
            rows = tx.deployments.all()
            found = next((subject for row in rows if (subject := self._subject(tx, row)) is not None), None)
        return found, any(self._is_busy(row) for row in rows)

    def _is_busy(self, row: DeploymentRow) -> bool:
        if row.state in _BUSY or self._activity.in_flight(row.name):
            return True
        last = self._activity.last_request_time(row.name)
        return last is not None and (self._now() - last).total_seconds() < self._settle

    def _subject(self, tx: Tx, row: DeploymentRow) -> Subject | None:
        """The first adapter of a deployment that answers and was not measured; of loads the oldest."""
        if row.state != states.READY or row.desired_replicas == 0:
            return None
        rows = tx.deployed_models.of_deployment(row.name)
        if row.is_live_merge or row.is_hot_reload:
            load = hot_reload.merged(row, rows) if row.is_hot_reload else None
            model = load.model if load is not None else row.model if row.is_live_merge else None
            if model is None or row.parity is not None or row.merge_record is None or row.served_folder is None:
                return None
            return self._of(tx, row.name, model, row.base, row.served_folder, row.served_folder)
        for loaded in rows:
            if loaded.model != row.model and loaded.state == loads.DEPLOYED and loaded.parity is None:
                return self._of(tx, loaded.name, loaded.model, row.base, None, loaded.model_hash)
        return None

    def _of(self, tx: Tx, name: str, model: str, base: str, merged: str | None, bound: str | None) -> Subject | None:
        adapter, under = tx.models.get(model), tx.models.get(base)
        if adapter is None or under is None or {adapter.state, under.state} != {models.READY}:
            return None
        folder = self._home / merged if merged is not None else None
        return Subject(name, model, self._home / adapter.folder, self._home / under.folder, folder, bound)

    async def _measure(self, subject: Subject) -> None:
        size = await asyncio.to_thread(weights_size, subject.base)
        if size > self._largest:
            sizes = f"its base has {size / 1e9:.3g} GB of weights, and is measured up to {self._largest / 1e9:.3g} GB"
            ask = f"firectl lora parity {subject.adapter} --base-model {subject.base}"
            found: Parity | None = Parity(error=f"not measured: {sizes}; to do it: {ask}")
        else:
            found = await self._run(subject)
        if found is None:
            return
        figures = found.model_copy(update={"model": subject.model, "measure_time": self._now()})
        await asyncio.to_thread(self._write, subject, figures)

    def _write(self, subject: Subject, figures: Parity) -> None:
        with self._store.note() as tx:
            row: DeploymentRow | DeployedModelRow | None = tx.deployments.get(subject.name)
            if isinstance(row, DeploymentRow):
                if row.served_folder == subject.bound:
                    tx.deployments.update(subject.name, parity=figures)
                return
            row = tx.deployed_models.get(subject.name)
            if row is not None and row.model_hash == subject.bound:
                tx.deployed_models.update(subject.name, parity=figures)

    async def _run(self, subject: Subject) -> Parity | None:
        """The figures, or why there are none; None where something else had to be done first."""
        merged = ("--merged", str(subject.merged)) if subject.merged is not None else ()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "firectl.server.tether", "firectl.lora.parity"),
            *(str(subject.adapter), str(subject.base), *merged),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._home,
            env=child_environment(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"),
            start_new_session=True,
        )
        assert process.stdout is not None
        said = asyncio.create_task(process.stdout.read())
        deadline = asyncio.get_running_loop().time() + LONGEST
        try:
            while not (await asyncio.wait({said}, timeout=_LOOK))[0]:
                if (await asyncio.to_thread(self._look))[1]:
                    return None
                if asyncio.get_running_loop().time() > deadline:
                    return Parity(error=f"it took more than {LONGEST:.0f} s")
            return read_report(said.result())
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            said.cancel()


def weights_size(folder: Path) -> int:
    """Bytes of a model's safetensors."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def read_report(text: bytes) -> Parity:
    """What a measurement printed: the report of lora.parity, or an error, as its last line."""
    try:
        report = json.loads(text.splitlines()[-1])
        if "error" in report:
            return Parity(error=message_of(report) or _NO_REPORT)
        comparisons = [ParityComparison.model_validate(found) for found in report["comparisons"]]
        return Parity(
            changes_answers=report["changes"],
            ways_agree=report["agrees"],
            tokens=report["tokens"],
            comparisons=comparisons,
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return Parity(error=_NO_REPORT)
