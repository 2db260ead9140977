"""How much traffic does each deployment get? Counts requests and writes new counts to the database every second.

Probes are not counted. This file must not make decisions from its counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from firectl.server.store import Store
from firectl.server.store.rows import UsageRow
from firectl.server.usage import history
from firectl.server.usage.metrics import TrafficMetrics

log = logging.getLogger(__name__)

_EVERY = 1.0
"""Seconds between writes. Traffic must be visible within three seconds."""
_TIDY_EVERY = 600.0
CLIENT_LEFT = 499
_Key: TypeAlias = tuple[str, str, int]
"""(deployment, model, Unix second at which the row begins)"""


@dataclass
class TrafficCount:
    """The traffic of one deployment since the platform started. Every number except `in_flight` only grows."""

    in_flight: int = 0
    busy_seconds: float = 0.0
    """The total time that requests were in flight. Its growth in one second is the average number in flight."""
    requests: int = 0
    generated_tokens: int = 0
    _since: float = 0.0

    def move(self, change: int, at: float) -> None:
        """Change the number of requests in flight by `change` at the monotonic time `at`."""
        self.busy_seconds += self.in_flight * (at - self._since)
        self.in_flight += change
        self._since = at


class Reservation:
    """One admitted request, from its admission to its end. Then `ended` gets the reservation and the HTTP status."""

    def __init__(
        self, count: TrafficCount, deployment: str, model: str, ended: Callable[[Reservation, int], None]
    ) -> None:
        self.count = count
        self.deployment = deployment
        self.model = model
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.started = time.monotonic()
        self.first: float | None = None
        self.took = 0.0
        self._ended = ended

    def begun(self) -> None:
        """Note the time of the first part of a streamed answer. Call this just before sending that part."""
        if self.first is None:
            self.first = time.monotonic()

    def usage(self, found: object) -> None:
        """Copy the token counts from the `usage` of an engine's answer. An invalid count is taken as 0."""
        if isinstance(found, Mapping):
            self.prompt_tokens, self.generated_tokens = (
                value if isinstance(value, int) and 0 <= value < 2**53 else 0
                for value in (found.get("prompt_tokens"), found.get("completion_tokens"))
            )

    def end(self, status: int) -> None:
        """Note that the request ended with this HTTP status; 499 if the client left."""
        self.took = time.monotonic() - self.started
        self._ended(self, status)


class Traffic:
    """Counts the requests, errors and tokens of a platform.

    Call it only on the event loop; a thread writes a copy of the counts to the store.
    """

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self.metrics = TrafficMetrics()
        self._store = store
        self._now = now
        self._last: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}
        self._counts: dict[str, TrafficCount] = {}
        self._pending: dict[_Key, Counter[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._tidied = float("-inf")

    def last_request_time(self, deployment: str) -> datetime | None:
        """Return when the latest request began or ended; None if there was none since the platform started."""
        return self._last.get(deployment)

    def of(self, deployment: str) -> TrafficCount:
        """Return the counts of a deployment, with `busy_seconds` up to now."""
        count = self._counts.setdefault(deployment, TrafficCount(_since=time.monotonic()))
        count.move(0, time.monotonic())
        return count

    def admit(self, deployment: str, model: str) -> Reservation:
        """Count a request that is admitted now. The caller must call `end` on the returned reservation."""
        count = self.of(deployment)
        reservation = Reservation(count, deployment, model, self._ended)
        count.move(1, reservation.started)
        count.requests += 1
        self._touch(deployment)
        return reservation

    def refuse(self, deployment: str, model: str, status: int) -> None:
        """Count a request that no replica could answer."""
        self._add(deployment, model, requests=1, errors=1)
        self.metrics.request(deployment, model, status)
        self._write_soon()

    async def flush(self) -> None:
        """Write all counts and times that are not in the database yet."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._write()

    def forget(self, keep: set[str]) -> None:
        """Drop the counts of deployments that are not in `keep`; their history stays."""
        for known in (self._last, self._written, self._counts):
            for deployment in known.keys() - keep:
                del known[deployment]
        self.metrics.forget(keep)

    def _ended(self, reservation: Reservation, status: int) -> None:
        # First note the time: without requests in flight, the deployment counts as idle from then on.
        self._touch(reservation.deployment)
        # Not `self.of(…)`: that may be the count of a newer deployment with the same name.
        reservation.count.move(-1, time.monotonic())
        reservation.count.generated_tokens += reservation.generated_tokens
        self._add(
            reservation.deployment,
            reservation.model,
            requests=1,
            errors=int(status not in (200, CLIENT_LEFT)),
            prompt_tokens=reservation.prompt_tokens,
            generated_tokens=reservation.generated_tokens,
        )
        self.metrics.answered(reservation, status)

    def _add(self, deployment: str, model: str, **amounts: int) -> None:
        key = deployment, model, history.begin(self._now(), history.FINEST)
        self._pending.setdefault(key, Counter()).update(amounts)

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
                log.exception("writing the traffic")
            await asyncio.sleep(_EVERY)

    def _unwritten(self) -> dict[str, datetime]:
        return {name: time for name, time in self._last.items() if self._written.get(name) != time}

    async def _write(self) -> None:
        times, pending = self._unwritten(), self._pending
        if not (times or pending):
            return
        self._pending = {}
        writing = asyncio.create_task(asyncio.to_thread(self._write_down, times, pending))
        try:
            # On cancellation, still wait for the write: otherwise its amounts could be counted twice or not at all.
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise
        finally:
            if writing.done() and writing.exception() is None:
                self._written |= times
            else:
                for key, amounts in pending.items():
                    self._pending.setdefault(key, Counter()).update(amounts)

    def _write_down(self, times: Mapping[str, datetime], pending: Mapping[_Key, Counter[str]]) -> None:
        rows = [
            UsageRow(deployment=deployment, model=model, start=start, length=history.FINEST, **amounts)
            for (deployment, model, start), amounts in pending.items()
        ]
        with self._store.note() as tx:
            for name, at in times.items():
                tx.deployments.update(name, last_request_time=at)
            tx.usage.add(rows)
            if time.monotonic() - self._tidied > _TIDY_EVERY:
                history.tidy(tx, self._now())
                self._tidied = time.monotonic()
