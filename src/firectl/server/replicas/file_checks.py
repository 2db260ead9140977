"""When are stored files verified? When a stamp (size, times, inode) changed, on request, and in the background.

The background check reads every file once a day, a damaged model every 10 minutes. A damaged model keeps the status
DATA_LOSS in its row until its files are correct again. This module must not start or stop replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from firectl.errors import Code
from firectl.lora.read.bin_file import NotInspected
from firectl.lora.read.hashing import FileHash
from firectl.schemas.base import Status
from firectl.schemas.words import ModelState
from firectl.server.disk import merged
from firectl.server.disk.bin_copy import examine_copy, has_copy
from firectl.server.disk.integrity import Examined, examine, untouched
from firectl.server.store import Store, Tx
from firectl.server.store.rows import ModelRow

log = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds between two checks of all stamps."""
REST_RATE = 64
"""How many MiB per second are read for checks that no deployment waits for."""
REST_EVERY = timedelta(days=1)
"""How often the background check reads every file."""
_DAMAGED_EVERY = timedelta(minutes=10)
"""How often the files of a damaged model are read: an unreadable file may be readable again."""
_NOT_INSPECTED_EVERY = timedelta(minutes=1)
"""How long a check waits to try again if a `.bin` could not be read: a full disk, or the reading process ended."""
_PAUSE = 0.2


class CheckStopped(Exception):
    """The platform shut down during a check, so the check has no result."""


class FileChecks:
    """Verifies the files of models and merged folders. A name is that of a model, or `merged/<key>` for a folder.

    `changed` is called after every check of a merged folder or of a model that a deployment waits for, and when a
    model's result changed. `damaged` is called with the name of a damaged merged folder. Both are called on the event
    loop.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        *,
        changed: Callable[[], None],
        damaged: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._home = home
        self._changed = changed
        self._damaged = damaged
        self._now = now
        self._not_before: dict[str, datetime] = {}
        """Name → earliest time to try its check again, for checks that could not be done."""
        self._over = threading.Event()
        self._called = asyncio.Event()
        self._wanted: frozenset[str] = frozenset()
        self.forced: frozenset[str] = frozenset()
        """The names to verify even if their stamps are unchanged."""
        self.reading: set[str | None] = set()
        """The names that are being verified now."""

    def want(self, names: Iterable[str]) -> None:
        """Set the names that deployments wait for, and soon verify those whose stamps changed."""
        self._wanted = frozenset(names)
        if self._wanted:
            self._called.set()

    def force(self, names: Iterable[str]) -> None:
        """Soon verify `names`, even if their stamps are unchanged."""
        self.forced |= frozenset(names)
        self._called.set()

    async def run(self) -> None:
        """Run checks until cancelled."""
        self._over.clear()
        at_rest = asyncio.create_task(self._rest())
        try:
            while True:
                self._called.clear()
                if not await self._check_next(self._next_wanted, self._hurry):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK):
                            await self._called.wait()
        finally:
            self._over.set()
            at_rest.cancel()
            await asyncio.wait({at_rest})

    def verify(self, name: str) -> None:
        """Verify a model's files in this thread and write the result into its row.

        Raises NotInspected, without a change of the row, if a `.bin` cannot be read now.
        """
        self._check_model(name, self._hurry)

    async def _rest(self) -> None:
        while True:
            if not await self._check_next(self._next_at_rest, self._pace):
                await asyncio.sleep(LOOK)

    async def _check_next(self, choose: Callable[[], str | None], pace: Callable[[str], None]) -> bool:
        """Verify the model or folder that `choose` returns; False if there is none or the check failed."""
        name = None
        try:
            name = await asyncio.to_thread(choose)
            if name is None or name in self.reading:
                return False
            self.reading.add(name)
            await self._check(name, pace)
        except Exception:
            log.exception("checking the files of %s", name)
            return False
        finally:
            self.reading -= {name}
        await asyncio.sleep(_PAUSE)
        return True

    async def _check(self, name: str, pace: Callable[[str], None]) -> None:
        check = self._check_merged if name.startswith("merged/") else self._check_model
        try:
            found = await asyncio.to_thread(check, name, pace)
        except NotInspected as error:
            log.warning("model %s is verified later: %s", name, error.message)
            self._not_before[name] = self._now() + _NOT_INSPECTED_EVERY
            return
        self.forced -= {name}
        if name.startswith("merged/"):
            if found:
                log.error("%s is damaged: its files differ from its record", name)
                self._damaged(name)
            self._changed()
        elif found or name in self._wanted:
            self._changed()

    def _hurry(self, _: str) -> None:
        if self._over.is_set():
            raise CheckStopped

    def _pace(self, name: str) -> None:
        self._hurry(name)
        if name not in self._wanted | self.forced:
            time.sleep(1 / REST_RATE)

    def _next_wanted(self) -> str | None:
        for name in sorted(self.forced):
            if not self._is_put_off(name):
                return name
        with self._store.read() as tx:
            rows = [row for name in self._wanted if not name.startswith("merged/") and (row := tx.models.get(name))]
        touched = [row.name for row in rows if self._touched(row) and not self._is_put_off(row.name)]
        touched += [name for name in self._wanted if name.startswith("merged/") and self._merged_touched(name)]
        return min(touched, default=None)

    def _next_at_rest(self) -> str | None:
        with self._store.read() as tx:
            rows = [row for row in tx.models.all() if row.state == ModelState.READY and row.name not in self._wanted]
        rows = [row for row in rows if not self._is_put_off(row.name)]
        for row in rows:
            if self._touched(row):
                return row.name
        folders = [f"merged/{path.name}" for path in sorted((self._home / "merged").glob("[!.]*"))]
        folders = [name for name in folders if name not in self._wanted]
        for name in folders:
            if self._merged_touched(name):
                return name
        now = self._now()
        due = [
            (row.check_time, row.name)
            for row in rows
            if row.check_time is None or now - row.check_time > (REST_EVERY if row.damage is None else _DAMAGED_EVERY)
        ]
        due += [(at, name) for name in folders if (at := self._merged_at(name)) and now - at > REST_EVERY]
        # A model that was never read comes first.
        return min(due, key=lambda each: (each[0] is not None, each), default=(None, None))[1]

    def _touched(self, row: ModelRow) -> bool:
        return row.state == ModelState.READY and not untouched(self._home / row.folder, row.stamps)

    def _is_put_off(self, name: str) -> bool:
        return name in self._not_before and self._now() < self._not_before[name]

    def _merged_touched(self, name: str) -> bool:
        return merged.condition(self._home / name) is merged.Condition.TOUCHED

    def _merged_at(self, name: str) -> datetime | None:
        """Return when a merged folder was last verified, which is when its record was last written; None if unknown."""
        folder = self._home / name
        if merged.condition(folder) is not merged.Condition.WHOLE:
            return None
        with contextlib.suppress(OSError):
            return datetime.fromtimestamp((folder / merged.RECORD).stat().st_mtime, self._now().tzinfo)
        return None

    def _check_merged(self, name: str, pace: Callable[[str], None]) -> bool:
        """Verify the files of a merged folder; True if they are damaged."""
        folder = self._home / name
        record = merged.read_record(folder)
        files = merged.recorded_files(folder, record) if record is not None else None
        if record is None or files is None:
            return False
        found = examine(folder, files, lambda: pace(name))
        if found.damage is None:
            merged.remember(folder, record, found)
        return found.damage is not None

    def _check_model(self, name: str, pace: Callable[[str], None]) -> bool:
        """Verify the files of a model and write the result; True if it differs from the earlier result."""
        with self._store.read() as tx:
            row, files = tx.models.get(name), tx.files.of_model(name)
        if row is None or row.state != ModelState.READY:
            return False
        expected = {file.filename: FileHash(file.size, file.sha256 or "") for file in files}
        found = examine(self._home / row.folder, expected, lambda: pace(name))
        if found.damage is None and has_copy(expected):
            found = examine_copy(self._home / row.folder, found, row.stamps)
        damage = None
        if found.damage is not None:
            todo = f"put the right file back into {self._home / row.folder}"
            damage = Status.of(Code.DATA_LOSS, f"model {name}: {found.damage}; {todo}")
        if damage == row.damage:
            with self._store.note() as tx:
                return self._write(tx, row, damage, found)
        with self._store.begin() as tx:
            self._write(tx, row, damage, found)
        if damage is None:
            log.info("model %s: its files are repaired", name)
        else:
            log.error("%s", damage.message)
        return True

    def _write(self, tx: Tx, row: ModelRow, damage: Status | None, found: Examined) -> bool:
        now = tx.models.get(row.name)
        if now is not None and now.folder == row.folder:
            tx.models.update(row.name, damage=damage, stamps=found.stamps, check_time=self._now())
        return False
