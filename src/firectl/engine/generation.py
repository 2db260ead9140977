"""Handle a request's sequences in asyncio: queue or refuse them, read their results, cancel them.

Must not depend on the format of an answer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from collections.abc import Sequence as Items
from typing import TYPE_CHECKING

from firectl.engine.options import EngineOptions
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code
from firectl.schemas.openai import ParamError
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.engine.engine import Engine, StepResult

LONGEST_RETRY_AFTER = 60


class QueueFull(ApiError):
    """The queue has no room for the request. HTTP 429; `retry_after` is in whole seconds."""

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(
            Code.RESOURCE_EXHAUSTED,
            f"{limit} requests are waiting already, try again in {retry_after} s",
            reason=Reason.QUEUE_FULL,
        )
        self.retry_after = retry_after


class Dispatcher:
    """Passes sequences to the engine and step results to their `Generation`. Runs on the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: EngineOptions) -> None:
        self._loop = loop
        self._slots = options.max_num_seqs
        self._max_waiting = options.max_waiting
        self._timeout = options.request_timeout
        self._owners: dict[Sequence, Generation] = {}
        self._seconds_each = 1.0
        """Moving average of the seconds that a sequence takes."""

    def publish(self, results: list[StepResult]) -> None:
        """Pass results from the engine's thread to the event loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, results)

    def start(self, engine: Engine, sequences: Items[Sequence]) -> Generation:
        """Queue all sequences or none. QueueFull if the queue has no room; ApiError if the engine has died."""
        limit = self._slots + self._max_waiting
        if len(sequences) > limit:
            raise ParamError(f"expected at most {limit} choices in one request, got {len(sequences)}", "n")
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

    def _deliver(self, results: list[StepResult]) -> None:
        now = time.monotonic()
        for result in results:
            owner = self._owners.get(result.sequence)
            if owner is None:  # it was cancelled
                continue
            if result.last:
                del self._owners[result.sequence]
                self._seconds_each += 0.1 * (now - owner.started - self._seconds_each)
            owner.put(result, now)


class Generation:
    """Yields results of all its sequences as they arrive. Leaving its `async with` block cancels those that run."""

    def __init__(self, dispatcher: Dispatcher, engine: Engine, sequences: Items[Sequence], timeout: float) -> None:
        self.started = time.monotonic()
        self._timeout = timeout
        self._dispatcher = dispatcher
        self._engine = engine
        self._unfinished = set(sequences)
        self._results: asyncio.Queue[StepResult] = asyncio.Queue()
        self._last_token: dict[Sequence, float] = {}
        """Sequence → time of its last token, from time.monotonic()."""

    def put(self, result: StepResult, now: float) -> None:
        """Add a result that came at the time `now` of time.monotonic()."""
        self._results.put_nowait(result)
        if result.error is not None:
            return
        metrics, before = self._engine.metrics, self._last_token.get(result.sequence)
        if before is None:
            metrics.first_token.observe(now - self.started)
        else:
            metrics.between_tokens.observe(now - before)
        if result.last:
            metrics.whole.observe(now - self.started)
        self._last_token[result.sequence] = now

    async def __aiter__(self) -> AsyncIterator[StepResult]:
        """Yield results until every sequence has ended. Raises the error of a sequence, or DEADLINE_EXCEEDED."""
        deadline = asyncio.get_running_loop().time() + self.started + self._timeout - time.monotonic()
        while self._unfinished:
            try:
                async with asyncio.timeout_at(deadline):
                    result = await self._results.get()
            except TimeoutError:
                self._engine.metrics.timeouts.inc()
                raise ApiError(
                    Code.DEADLINE_EXCEEDED,
                    f"the answer was not complete {self._timeout:g} s after the request, and was cancelled",
                    reason=Reason.REQUEST_TIMEOUT,
                    hint="ask for fewer tokens, or start the engine with a higher --request-timeout",
                ) from None
            if result.last:
                self._unfinished.discard(result.sequence)
            if result.error is not None:
                raise result.error
            yield result

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._unfinished:
            left = tuple(self._unfinished)
            self._dispatcher.forget(left)
            self._engine.cancel(left)
