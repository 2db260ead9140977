"""What is asked of each deployment, and when: the front's own count, written down every second while there is any.

Probes are not told to it. Must not decide anything by what it counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from firectl.server.store import Store
from firectl.server.store.rows import UsageRow
from firectl.server.usage import history
from firectl.server.usage.figures import Figures

log = logging.getLogger(__name__)

_EVERY = 1.0
"""Seconds between writes: what was served is to be seen within three."""
_TIDY_EVERY = 600.0
CLIENT_LEFT = 499


@dataclass
class Work:
    """What a deployment was asked for since the platform started; only ever grows, `in_flight` apart."""

    in_flight: int = 0
    busy_seconds: float = 0.0
    """Requests in flight, summed over time: the growth in a second is how many there were on average."""
    requests: int = 0
    generated_tokens: int = 0
    _since: float = 0.0

    def move(self, change: int, at: float) -> None:
        self.busy_seconds += self.in_flight * (at - self._since)
        self.in_flight += change
        self._since = at


class Ticket:
    """One request on its way: what is learned of it until its end."""

    def __init__(self, activity: Activity, work: Work, deployment: str, model: str) -> None:
        self.work = work
        self.deployment = deployment
        self.model = model
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.started = time.monotonic()
        self.first: float | None = None
        self.took = 0.0
        self._activity = activity

    def begun(self) -> None:
        """The first part of a streamed answer is on its way out."""
        if self.first is None:
            self.first = time.monotonic()

    def usage(self, found: object) -> None:
        """The `usage` that an engine reports, where it is one."""
        if isinstance(found, Mapping):
            self.prompt_tokens, self.generated_tokens = (
                value if isinstance(value, int) and 0 <= value < 2**53 else 0
                for value in (found.get("prompt_tokens"), found.get("completion_tokens"))
            )

    def end(self, status: int) -> None:
        """Answered in full, or not: with the HTTP status that says how; 499 when the client left."""
        self.took = time.monotonic() - self.started
        self._activity._ended(self, status)


class Activity:
    """The count of one platform. For the event loop alone: what is written down goes to a thread as a copy."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self.figures = Figures()
        self._store = store
        self._now = now
        self._last: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}
        self._work: dict[str, Work] = {}
        self._pending: Counter[tuple[str, str, int, str]] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._tidied = float("-inf")

    def last_request_time(self, deployment: str) -> datetime | None:
        """The newest time known here, ahead of the row by a second at most; None when it got none since start."""
        return self._last.get(deployment)

    def work(self, deployment: str) -> Work:
        """What it was asked for up to now."""
        work = self._work.setdefault(deployment, Work(_since=time.monotonic()))
        work.move(0, time.monotonic())
        return work

    def admit(self, deployment: str, model: str) -> Ticket:
        """A request for it was let in now; `end` its ticket."""
        work = self.work(deployment)
        ticket = Ticket(self, work, deployment, model)
        work.move(1, ticket.started)
        work.requests += 1
        self._touch(deployment)
        return ticket

    def refuse(self, deployment: str, model: str, status: int) -> None:
        """A request for it could not be let in: nothing there can answer now."""
        self._count(deployment, model, status, requests=1, errors=1)
        self.figures.request(deployment, model, status)
        self._write_soon()

    async def flush(self) -> None:
        """Write what is not written yet."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._write()

    def forget(self, keep: set[str]) -> None:
        """Drop what is known of deployments that are gone; their history stays."""
        for known in (self._last, self._written, self._work):
            for deployment in known.keys() - keep:
                del known[deployment]
        self.figures.forget(keep)

    def _ended(self, ticket: Ticket, status: int) -> None:
        # A long answer is activity to its end; and who sees nothing in flight must see that time too.
        self._touch(ticket.deployment)
        # Its own: a deployment that went meanwhile may be there again, with a count of its own.
        ticket.work.move(-1, time.monotonic())
        ticket.work.generated_tokens += ticket.generated_tokens
        self._count(
            ticket.deployment,
            ticket.model,
            status,
            requests=1,
            errors=int(status not in (200, CLIENT_LEFT)),
            prompt_tokens=ticket.prompt_tokens,
            generated_tokens=ticket.generated_tokens,
        )
        self.figures.answered(ticket, status)

    def _count(self, deployment: str, model: str, status: int, **amounts: int) -> None:
        start = history.begin(self._now(), history.FINEST)
        for what, amount in amounts.items():
            self._pending[deployment, model, start, what] += amount

    def _touch(self, deployment: str) -> None:
        self._last[deployment] = self._now()
        self._write_soon()

    def _write_soon(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_writing())

    async def _keep_writing(self) -> None:
        while self._pending or self._unwritten():
            try:
                await self._write()
            except Exception:
                log.exception("writing down what was served")
            await asyncio.sleep(_EVERY)

    def _unwritten(self) -> dict[str, datetime]:
        return {name: time for name, time in self._last.items() if self._written.get(name) != time}

    async def _write(self) -> None:
        times, pending = self._unwritten(), self._pending
        if not (times or pending):
            return
        self._pending = Counter()
        writing = asyncio.create_task(asyncio.to_thread(self._write_down, times, _rows(pending)))
        try:
            # Seen to its end even when this is cancelled: half known is counted twice or not at all.
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise
        finally:
            if writing.done() and writing.exception() is None:
                self._written |= times
            else:
                self._pending.update(pending)

    def _write_down(self, times: Mapping[str, datetime], rows: list[UsageRow]) -> None:
        with self._store.note() as tx:
            for name, at in times.items():
                tx.deployments.update(name, last_request_time=at)
            tx.usage.add(rows)
            if time.monotonic() - self._tidied > _TIDY_EVERY:
                history.tidy(tx, self._now())
                self._tidied = time.monotonic()


def _rows(pending: Counter[tuple[str, str, int, str]]) -> list[UsageRow]:
    found: dict[tuple[str, str, int], dict[str, int]] = {}
    for (deployment, model, start, what), amount in pending.items():
        found.setdefault((deployment, model, start), {})[what] = amount
    return [
        UsageRow(deployment=deployment, model=model, start=start, length=history.FINEST, **amounts)
        for (deployment, model, start), amounts in found.items()
    ]
