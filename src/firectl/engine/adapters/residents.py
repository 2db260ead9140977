"""Which of the loaded adapters have their weights in memory: the ones used last, the pinned, and those in use.

An adapter that was put out is read again, by its identity, when a request names it. Must not know names of requests
or HTTP. Lives on the event loop's thread; files are read on threads of its own, so that no stream waits for them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firectl.engine.adapters.aside import aside
from firectl.engine.schedule.adapter import EngineAdapter
from firectl.errors import ApiError, Code, InputError
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.engine.adapters.read import AdapterReader, Source
    from firectl.engine.metrics import Metrics

READERS = 2
"""Threads that read files for requests."""


@dataclass(eq=False, slots=True)
class Loaded:
    """An adapter that requests may name: what identifies it, and its weights while they are in memory."""

    name: str
    source: Source
    pinned: bool = False
    """Never put out."""
    gone: bool = False
    """No longer loaded: what is read for it now is for the requests that named it before."""
    weights: weakref.ref[EngineAdapter] | None = None
    """Alive as long as the memory or a request holds it."""
    reading: asyncio.Task[EngineAdapter] | None = field(default=None, repr=False)
    """Shared by the requests that wait for it."""


class Residents:
    """Holds the weights of at most `room` adapters; those that requests still use come on top."""

    def __init__(self, reader: AdapterReader, room: int, metrics: Metrics) -> None:
        self._reader = reader
        self._room = room
        self._metrics = metrics
        self._held: OrderedDict[Loaded, EngineAdapter] = OrderedDict()
        """Oldest use first."""
        self._readers = asyncio.Semaphore(READERS)

    @property
    def count(self) -> int:
        return len(self._held)

    @property
    def pins_left(self) -> int:
        """How many more may be pinned: one place is always left for the others."""
        return self._room - 1 - sum(loaded.pinned for loaded in self._held)

    def hold(self, loaded: Loaded, adapter: EngineAdapter) -> None:
        """Keep the weights as the ones used last; puts out what there is no room for."""
        loaded.weights = weakref.ref(adapter)
        if loaded.gone:
            return
        self._held[loaded] = adapter
        self._held.move_to_end(loaded)
        excess = len(self._held) - self._room
        oldest = [each for each in self._held if not each.pinned and each is not loaded]
        for victim in oldest[: max(0, excess)]:
            del self._held[victim]
            self._metrics.evictions.inc()

    def drop(self, loaded: Loaded) -> None:
        """It is no longer loaded: the weights go when the last request on them has ended."""
        loaded.gone = True
        self._held.pop(loaded, None)

    async def weights(self, loaded: Loaded) -> EngineAdapter:
        """The adapter's weights, read again if they were put out.

        ApiError ADAPTER_LOST when its files are gone or no longer what was loaded.
        """
        adapter = loaded.weights() if loaded.weights is not None else None
        if adapter is not None:
            self.hold(loaded, adapter)
            return adapter
        if loaded.reading is None:
            loaded.reading = asyncio.create_task(self._read(loaded))
        # Shielded: a client that leaves must not take the reading from the others who wait for it.
        return await asyncio.shield(loaded.reading)

    async def _read(self, loaded: Loaded) -> EngineAdapter:
        try:
            async with self._readers:
                adapter = await aside("residents", self._reader.read, loaded.name, loaded.source)
        except InputError as error:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"the adapter {loaded.name} cannot be read again: {error.message}",
                reason=Reason.ADAPTER_LOST,
                hint="unload it and load it again",
                http_status=412,
            ) from error
        finally:
            loaded.reading = None
        self._metrics.reads.inc()
        self.hold(loaded, adapter)
        return adapter
