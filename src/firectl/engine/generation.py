"""A request's sequences on the asyncio side: admitted or refused at once, read as they progress, cancelled on leaving.

Must not know what the progress is turned into.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from collections.abc import Sequence as Items
from types import TracebackType
from typing import TYPE_CHECKING

from firectl.engine.options import EngineOptions
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code
from firectl.schemas.openai import ParamError
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.engine.engine import Engine, Progress

LONGEST_RETRY_AFTER = 60


class QueueFull(ApiError):
    """More sequences are waiting than may. HTTP 429; `retry_after` in whole seconds."""

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(
            Code.RESOURCE_EXHAUSTED,
            f"{limit} requests are waiting already, try again in {retry_after} s",
            reason=Reason.QUEUE_FULL,
        )
        self.retry_after = retry_after


class Dispatcher:
    """Hands sequences to the engine and its progress back to those who wait. Lives on the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: EngineOptions) -> None:
        self._loop = loop
        self._slots = options.max_num_seqs
        self._max_waiting = options.max_waiting
        self._timeout = options.request_timeout
        self._owners: dict[Sequence, Generation] = {}
        self._seconds_each = 1.0
        """A running mean of how long a sequence takes."""

    def publish(self, batch: list[Progress]) -> None:
        """Called by the engine's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def start(self, engine: Engine, sequences: Items[Sequence]) -> Generation:
        """QueueFull beyond the limit, then nothing of the request is queued; ApiError when the engine has died."""
        limit = self._slots + self._max_waiting
        if len(sequences) > limit:
            raise ParamError(f"the request asks for {len(sequences)} choices, this engine takes {limit}", "n")
        if len(self._owners) + len(sequences) > limit:
            engine.metrics.refused.inc()
            ahead = len(self._owners) / self._slots * self._seconds_each
            raise QueueFull(self._max_waiting, max(1, min(LONGEST_RETRY_AFTER, math.ceil(ahead))))
        engine.submit(sequences)
        generation = Generation(self, engine, sequences, self._timeout)
        self._owners.update(dict.fromkeys(sequences, generation))
        return generation

    def forget(self, sequences: Items[Sequence]) -> None:
        for sequence in sequences:
            self._owners.pop(sequence, None)

    def _deliver(self, batch: list[Progress]) -> None:
        now = time.monotonic()
        for progress in batch:
            owner = self._owners.get(progress.sequence)
            if owner is None:  # cancelled meanwhile
                continue
            if progress.last:
                del self._owners[progress.sequence]
                self._seconds_each += 0.1 * (now - owner.started - self._seconds_each)
            owner.put(progress, now)


class Generation:
    """`async with` it and iterate: progress of all its sequences, in the order it came. Leaving cancels the rest."""

    def __init__(self, dispatcher: Dispatcher, engine: Engine, sequences: Items[Sequence], timeout: float) -> None:
        self.started = time.monotonic()
        self._timeout = timeout
        self._dispatcher = dispatcher
        self._engine = engine
        self._unfinished = set(sequences)
        self._progress: asyncio.Queue[Progress] = asyncio.Queue()
        self._heard: dict[Sequence, float] = {}
        """When the last token of each came."""

    def put(self, progress: Progress, now: float) -> None:
        """What a step brought, at `now` of time.monotonic()."""
        self._progress.put_nowait(progress)
        if progress.error is not None:
            return
        metrics, before = self._engine.metrics, self._heard.get(progress.sequence)
        if before is None:
            metrics.first_token.observe(now - self.started)
        else:
            metrics.between_tokens.observe(now - before)
        if progress.last:
            metrics.whole.observe(now - self.started)
        self._heard[progress.sequence] = now

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """Ends after every sequence's last; raises the error that one of them met, or DEADLINE_EXCEEDED."""
        deadline = asyncio.get_running_loop().time() + self.started + self._timeout - time.monotonic()
        while self._unfinished:
            try:
                async with asyncio.timeout_at(deadline):
                    progress = await self._progress.get()
            except TimeoutError:
                self._engine.metrics.timeouts.inc()
                raise ApiError(
                    Code.DEADLINE_EXCEEDED,
                    f"the answer was not done {self._timeout:g} s after the request came, and was given up",
                    reason=Reason.REQUEST_TIMEOUT,
                    hint="ask for fewer tokens, or start the engine with a higher --request-timeout",
                ) from None
            if progress.last:
                self._unfinished.discard(progress.sequence)
            if progress.error is not None:
                raise progress.error
            yield progress

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unfinished:
            left = tuple(self._unfinished)
            self._dispatcher.forget(left)
            self._engine.cancel(left)
